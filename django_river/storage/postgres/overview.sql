-- Reads for people. Each goes by a partial index: jobs that are over are never looked at.

-- name: client_loads
SELECT attempted_by[cardinality(attempted_by)], count(*)
FROM river_job
WHERE state = 'running'
GROUP BY 1;

-- name: job_estimate
SELECT reltuples::bigint FROM pg_class WHERE oid = 'river_job'::regclass;

-- name: queue_depths
-- The oldest job of a queue is the oldest of its four priorities: four probes of the fetch index.
WITH due AS MATERIALIZED (
    SELECT queue, count(*) AS count, count(*) FILTER (WHERE state = 'retryable') AS retryable
    FROM (
        SELECT queue, state
        FROM river_job
        WHERE state IN ('retryable', 'scheduled')
        ORDER BY scheduled_at, id
        LIMIT %(later_limit)s
    ) AS next
    GROUP BY queue
), running AS MATERIALIZED (
    SELECT queue, count(*) AS count
    FROM river_job
    WHERE state = 'running'
    GROUP BY queue
)
SELECT asked.name,
    (
        SELECT count(*)
        FROM (
            SELECT
            FROM river_job
            WHERE state = 'available' AND queue = asked.name
            -- Without an order, what has few jobs would be looked for in the whole table.
            ORDER BY priority, scheduled_at, id
            LIMIT %(available_limit)s
        ) AS counted
    ),
    coalesce(running.count, 0),
    coalesce(due.count, 0),
    (SELECT coalesce(sum(count), 0) FROM due) < %(later_limit)s,
    extract(epoch FROM statement_timestamp() - (
        SELECT min(head.scheduled_at)
        FROM generate_series(1, 4) AS level (priority)
        CROSS JOIN LATERAL (
            SELECT scheduled_at
            FROM river_job
            WHERE state = 'available' AND queue = asked.name AND priority = level.priority
            ORDER BY scheduled_at
            LIMIT 1
        ) AS head
    ))::float8,
    coalesce(due.count - due.retryable, 0),
    coalesce(due.retryable, 0)
FROM unnest(%(names)s::text[]) AS asked (name)
LEFT JOIN running ON running.queue = asked.name
LEFT JOIN due ON due.queue = asked.name;

-- name: time_limit
SELECT current_setting('statement_timeout');

-- name: time_limit_set
-- For this transaction only.
SELECT set_config('statement_timeout', %(limit)s, true);

-- name: queue_minute_rows
SELECT queue, completed, failed, waits::text, runs::text
FROM django_river_queueminute
WHERE minute > now() - %(since)s::interval AND (%(names)s::text[] IS NULL OR queue = ANY(%(names)s::text[]));
