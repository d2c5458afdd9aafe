-- Reads for people; see those of Postgres. Moments are answered as text, and spans are computed by the caller.

-- name: client_loads
SELECT json_extract(attempted_by, '$[#-1]'), count(*)
FROM river_job
WHERE state = 'running'
GROUP BY 1;

-- name: queue_depths
WITH due AS MATERIALIZED (
    SELECT queue, count(*) AS count, sum(state = 'retryable') AS retryable
    FROM (
        SELECT queue, state
        FROM river_job
        WHERE state IN ('retryable', 'scheduled')
        ORDER BY scheduled_at, id
        LIMIT :later_limit
    )
    GROUP BY queue
), running AS MATERIALIZED (
    SELECT queue, count(*) AS count
    FROM river_job
    WHERE state = 'running'
    GROUP BY queue
), level (priority) AS (
    VALUES (1), (2), (3), (4)
)
SELECT asked.value,
    (
        SELECT count(*)
        FROM (
            SELECT 1
            FROM river_job
            WHERE state = 'available' AND queue = asked.value
            LIMIT :available_limit
        )
    ),
    coalesce(running.count, 0),
    coalesce(due.count, 0),
    (SELECT coalesce(sum(count), 0) FROM due) < :later_limit,
    (
        SELECT min((
            SELECT min(scheduled_at)
            FROM river_job
            WHERE state = 'available' AND queue = asked.value AND priority = level.priority
        ))
        FROM level
    ),
    coalesce(due.count - due.retryable, 0),
    coalesce(due.retryable, 0)
FROM json_each(:names) AS asked
LEFT JOIN running ON running.queue = asked.value
LEFT JOIN due ON due.queue = asked.value;

-- name: queue_minute_rows
SELECT queue, completed, failed, waits, runs
FROM django_river_queueminute
WHERE minute > :since AND (:names IS NULL OR queue IN (SELECT value FROM json_each(:names)));
