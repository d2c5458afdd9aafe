-- Statements on what is said of queues at run time; see those of Postgres. One writer at a time: nothing is locked,
-- and the transaction of a claim is what makes it come after the one before.

-- name: queue_row_get
-- SQLite only: json_patch would merge deeply and drop nulls, so settings are put together by the caller.
SELECT settings, removal FROM django_river_queuerow WHERE name = :name;

-- name: queue_row_put
INSERT INTO django_river_queuerow (name, settings, removal, moved_to, removed_at, changed_at)
VALUES (:name, :settings, :removal, :moved_to, NULL, :now)
ON CONFLICT (name) DO UPDATE
SET settings = excluded.settings, removal = excluded.removal, moved_to = excluded.moved_to, removed_at = NULL,
    changed_at = excluded.changed_at;

-- name: queue_row_settings
UPDATE django_river_queuerow SET settings = :settings, changed_at = :now WHERE name = :name;

-- name: queue_row_digest
-- The digits of all moments, from the day on, added up: the last moment alone would hide a change that had to wait for
-- the write lock.
SELECT count(*) || ' ' || coalesce(sum(CAST(
    substr(changed_at, 9, 2) || substr(changed_at, 12, 2) || substr(changed_at, 15, 2) || substr(changed_at, 18, 2)
        || substr(changed_at, 21) AS INTEGER
)), 0)
FROM django_river_queuerow;

-- name: queue_row_list
SELECT name, settings, removal, moved_to, removed_at IS NOT NULL, changed_at
FROM django_river_queuerow
WHERE :names IS NULL OR name IN (SELECT value FROM json_each(:names))
ORDER BY name;

-- name: queue_row_prune
DELETE FROM django_river_queuerow
WHERE removed_at < :before
    AND name NOT IN (SELECT value FROM json_each(:keep))
    AND name NOT IN (SELECT moved_to FROM django_river_queuerow)
RETURNING name;

-- name: queue_forget
DELETE FROM river_queue WHERE name IN (SELECT value FROM json_each(:names));

-- name: queue_starts_forget
DELETE FROM django_river_queuestarts WHERE name IN (SELECT value FROM json_each(:names));

-- name: queue_row_set_removed
UPDATE django_river_queuerow
SET removed_at = :removed_at, changed_at = :now
WHERE name = :name AND removal <> '' AND (removed_at IS NULL) = (:removed_at IS NOT NULL);

-- name: client_running
-- Joined with the table itself, SQLite would make an index of all of it.
WITH running AS MATERIALIZED (
    SELECT id, queue, attempted_at, json_extract(attempted_by, '$[#-1]') AS client_id
    FROM river_job
    WHERE state = 'running'
)
SELECT client.pid, coalesce(running.queue, ''), count(running.id), min(running.attempted_at)
FROM django_river_client AS client
LEFT JOIN running ON running.client_id = client.id
WHERE client.host = :host AND client.pid IN (SELECT value FROM json_each(:pids))
GROUP BY client.pid, running.queue;

-- name: queue_apply
UPDATE django_river_client SET applied = :applied WHERE id = :client_id;

-- name: queue_open
SELECT value
FROM json_each(:names)
WHERE EXISTS (SELECT 1 FROM river_job WHERE state = 'available' AND queue = value)
UNION
SELECT queue FROM river_job WHERE state = 'running' AND queue IN (SELECT value FROM json_each(:names))
UNION
SELECT queue
FROM river_job
WHERE state IN ('retryable', 'scheduled') AND queue IN (SELECT value FROM json_each(:names));

-- name: queue_forget_resume
DELETE FROM django_river_queueresume WHERE name IN (SELECT value FROM json_each(:names));

-- name: queue_resume_at
INSERT INTO django_river_queueresume (name, resume_at)
SELECT DISTINCT value, :resume_at FROM json_each(:names) WHERE true
ON CONFLICT (name) DO UPDATE SET resume_at = excluded.resume_at;

-- name: queue_seconds_until_resume
SELECT min(resume_at) FROM django_river_queueresume;

-- name: queue_resume_due
DELETE FROM django_river_queueresume WHERE resume_at <= :now RETURNING name;

-- name: queue_running
SELECT queue, count(*)
FROM river_job
WHERE state = 'running' AND queue IN (SELECT value FROM json_each(:queues))
GROUP BY queue;

-- name: queue_starts
SELECT value, starts
FROM json_each(:queues)
LEFT JOIN django_river_queuestarts ON django_river_queuestarts.name = value;

-- name: queue_starts_set
INSERT INTO django_river_queuestarts (name, starts)
VALUES (:name, :starts)
ON CONFLICT (name) DO UPDATE SET starts = excluded.starts;

-- name: job_fetch_aged
-- The caller orders the candidates of the four priorities; then it claims those it has chosen.
SELECT id, priority, scheduled_at
FROM river_job
WHERE state = 'available' AND queue = :queue AND priority = :priority AND scheduled_at <= :now
ORDER BY scheduled_at, id
LIMIT :limit;

-- name: job_fetch_chosen
UPDATE river_job
-- include: claimed_by_us
WHERE id IN (SELECT value FROM json_each(:ids))
RETURNING id, kind, queue, priority, attempt, max_attempts, json_array_length(coalesce(errors, '[]')), args, metadata,
    scheduled_at;

-- name: job_move_available
UPDATE river_job
SET queue = :to
WHERE id IN (
    SELECT id
    FROM river_job
    WHERE state = 'available' AND queue = :queue
    ORDER BY priority, scheduled_at, id
    LIMIT :limit
)
RETURNING id;

-- name: job_move_later
UPDATE river_job
SET queue = :to
WHERE id IN (
    SELECT id FROM river_job WHERE state IN ('retryable', 'scheduled') AND queue = :queue LIMIT :limit
)
RETURNING id;

-- name: job_delete_available
DELETE FROM river_job
WHERE id IN (SELECT id FROM river_job WHERE state = 'available' AND queue = :queue LIMIT :limit)
RETURNING id;

-- name: job_delete_later
DELETE FROM river_job
WHERE id IN (SELECT id FROM river_job WHERE state IN ('retryable', 'scheduled') AND queue = :queue LIMIT :limit)
RETURNING id;

-- name: queue_backlogs
WITH level (priority) AS (
    VALUES (1), (2), (3), (4)
)
SELECT asked.value,
    (
        SELECT count(*)
        FROM (
            SELECT 1
            FROM river_job
            WHERE state = 'available' AND queue = asked.value AND scheduled_at <= :now
            LIMIT :limit
        )
    ),
    (
        SELECT min((
            SELECT min(scheduled_at)
            FROM river_job
            WHERE state = 'available' AND queue = asked.value AND priority = level.priority
        ))
        FROM level
    )
FROM json_each(:names) AS asked;

-- name: queue_minute_prune
DELETE FROM django_river_queueminute WHERE minute < :before;

-- name: queue_minute_put
INSERT INTO django_river_queueminute (minute, queue, client_id, completed, failed, waits, runs)
VALUES (:minute, :queue, :client_id, :completed, :failed, :waits, :runs)
ON CONFLICT (minute, queue, client_id) DO UPDATE
SET completed = excluded.completed, failed = excluded.failed, waits = excluded.waits, runs = excluded.runs;
