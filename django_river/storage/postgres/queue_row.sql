-- Statements on what is said of queues at run time, on claims that have to count, and on jobs of a queue that goes.
-- Every change has a moment of its own, also within one transaction: by it clients see what they have applied. It tells
-- them in the same statement, always with the same text: of many in one transaction the server sends one.

-- name: queue_row_add
INSERT INTO django_river_queuerow (name, settings, removal, moved_to, removed_at, changed_at)
VALUES (%(name)s, %(settings)s::jsonb, '', '', NULL, clock_timestamp())
ON CONFLICT (name) DO UPDATE
SET settings = EXCLUDED.settings, removal = '', moved_to = '', removed_at = NULL, changed_at = clock_timestamp()
WHERE django_river_queuerow.removal <> ''
RETURNING pg_notify(current_schema() || '.django_river_queues', %(payload)s);

-- name: queue_row_change
INSERT INTO django_river_queuerow (name, settings, removal, moved_to, removed_at, changed_at)
VALUES (%(name)s, %(settings)s::jsonb, '', '', NULL, clock_timestamp())
ON CONFLICT (name) DO UPDATE
SET settings = (django_river_queuerow.settings || EXCLUDED.settings) - %(inherit)s::text[],
    changed_at = clock_timestamp()
RETURNING pg_notify(current_schema() || '.django_river_queues', %(payload)s);

-- name: queue_row_close
INSERT INTO django_river_queuerow (name, settings, removal, moved_to, removed_at, changed_at)
VALUES (%(name)s, '{}', %(removal)s, %(moved_to)s, NULL, clock_timestamp())
ON CONFLICT (name) DO UPDATE
SET removal = %(removal)s, moved_to = %(moved_to)s, removed_at = NULL, changed_at = clock_timestamp()
RETURNING pg_notify(current_schema() || '.django_river_queues', %(payload)s);

-- name: queue_row_digest
SELECT count(*) || ' ' || coalesce(sum(extract(epoch FROM changed_at)), 0) FROM django_river_queuerow;

-- name: queue_row_list
SELECT name, settings::text, removal, moved_to, removed_at IS NOT NULL, extract(epoch FROM changed_at)::text
FROM django_river_queuerow
WHERE %(names)s::text[] IS NULL OR name = ANY(%(names)s::text[])
ORDER BY name;

-- name: queue_row_prune
-- A queue to which another's late jobs are moved is looked after for as long as that one.
WITH gone AS (
    DELETE FROM django_river_queuerow
    WHERE removed_at < now() - %(kept_for)s::interval
        AND name <> ALL(%(keep)s::text[])
        AND name NOT IN (SELECT moved_to FROM django_river_queuerow)
    RETURNING name
), forgotten AS (
    DELETE FROM river_queue WHERE name IN (SELECT name FROM gone)
), unlimited AS (
    DELETE FROM django_river_queuestarts WHERE name IN (SELECT name FROM gone)
)
SELECT name FROM gone ORDER BY name;

-- name: queue_row_set_removed
UPDATE django_river_queuerow
SET removed_at = CASE WHEN %(is_removed)s THEN now() END, changed_at = clock_timestamp()
WHERE name = %(name)s AND removal <> '' AND (removed_at IS NULL) = %(is_removed)s
RETURNING pg_notify(current_schema() || '.django_river_queues', %(payload)s);

-- name: client_running
SELECT client.pid, coalesce(job.queue, ''), count(job.id),
    coalesce(extract(epoch FROM statement_timestamp() - min(job.attempted_at)), 0)::float8
FROM django_river_client AS client
LEFT JOIN river_job AS job
    ON job.state = 'running' AND job.attempted_by[cardinality(job.attempted_by)] = client.id
WHERE client.host = %(host)s AND client.pid = ANY(%(pids)s::bigint[])
GROUP BY client.pid, job.queue;

-- name: queue_apply
UPDATE django_river_client SET applied = %(applied)s::jsonb WHERE id = %(client_id)s;

-- name: queue_open
-- Each question has an index of its own; asked as one, they would read the table.
SELECT asked.name
FROM unnest(%(names)s::text[]) AS asked (name)
CROSS JOIN LATERAL (
    SELECT
    FROM river_job
    WHERE state = 'available' AND queue = asked.name
    ORDER BY priority, scheduled_at, id
    LIMIT 1
) AS head
UNION
SELECT queue FROM river_job WHERE state = 'running' AND queue = ANY(%(names)s::text[])
UNION
SELECT queue FROM river_job WHERE state IN ('retryable', 'scheduled') AND queue = ANY(%(names)s::text[]);

-- name: queue_forget_resume
DELETE FROM django_river_queueresume WHERE name = ANY(%(names)s::text[]);

-- name: queue_resume_at
INSERT INTO django_river_queueresume (name, resume_at)
SELECT DISTINCT name, coalesce(%(moment)s::timestamptz, now() + %(delay)s::interval)
FROM unnest(%(names)s::text[]) AS name
ORDER BY name
ON CONFLICT (name) DO UPDATE SET resume_at = EXCLUDED.resume_at
RETURNING pg_notify(current_schema() || '.django_river_queues', %(payload)s);

-- name: queue_seconds_until_resume
SELECT extract(epoch FROM min(resume_at) - clock_timestamp())::float8 FROM django_river_queueresume;

-- name: queue_resume_due
DELETE FROM django_river_queueresume WHERE resume_at <= now() RETURNING name;

-- name: queue_lock
-- Who does not get a lock at once asks again later: nobody waits for anybody, and so nobody for one another.
SELECT name
FROM unnest(%(queues)s::text[]) AS name
WHERE pg_try_advisory_xact_lock(%(space)s, hashtext(name));

-- name: queue_running
-- A statement of its own, after the lock: it sees what those have claimed who held the lock before us.
SELECT queue, count(*)
FROM river_job
WHERE state = 'running' AND queue = ANY(%(queues)s::text[])
GROUP BY queue;

-- name: queue_starts
SELECT asked.name, starts.starts::text, extract(epoch FROM clock_timestamp())::float8
FROM unnest(%(queues)s::text[]) AS asked (name)
LEFT JOIN django_river_queuestarts AS starts USING (name);

-- name: queue_starts_set
INSERT INTO django_river_queuestarts (name, starts)
VALUES (%(name)s, %(starts)s::jsonb)
ON CONFLICT (name) DO UPDATE SET starts = EXCLUDED.starts;

-- name: job_fetch_aged
-- As job_fetch, but the four priorities of a queue are looked at one by one, each in the order of the index: who has
-- waited so long counts as one higher. More rows are locked than are claimed, until the transaction ends.
WITH claimed AS (
    UPDATE river_job
    -- include: claimed_by_us
    WHERE id = ANY(ARRAY(
        SELECT picked.id
        FROM unnest(%(queues)s::text[], %(limits)s::bigint[], %(ageing)s::float8[]) AS demand (queue, size, ageing)
        CROSS JOIN LATERAL (
            SELECT candidate.id
            FROM generate_series(1, 4) AS level (priority)
            CROSS JOIN LATERAL (
                SELECT id, priority, scheduled_at
                FROM river_job
                WHERE state = 'available'
                    AND queue = demand.queue
                    AND priority = level.priority
                    AND scheduled_at <= statement_timestamp()
                ORDER BY scheduled_at, id
                LIMIT demand.size
                FOR UPDATE SKIP LOCKED
            ) AS candidate
            ORDER BY greatest(1, candidate.priority - floor(
                extract(epoch FROM statement_timestamp() - candidate.scheduled_at)::float8 / demand.ageing
            )), candidate.scheduled_at, candidate.id
            LIMIT demand.size
        ) AS picked
        LIMIT %(limit)s
    ))
    -- include: claimed_rows
)
SELECT claimed.id, kind, claimed.queue, priority, attempt, max_attempts, errors, args, metadata,
    extract(epoch FROM statement_timestamp() - scheduled_at)::float8
FROM claimed
JOIN unnest(%(queues)s::text[], %(ageing)s::float8[]) AS demand (queue, ageing) ON demand.queue = claimed.queue
ORDER BY greatest(1, priority - floor(
    extract(epoch FROM statement_timestamp() - scheduled_at)::float8 / demand.ageing
)), scheduled_at, claimed.id;

-- name: job_move_available
-- In the order of the line. Who is being claimed just now is passed over: it will run.
UPDATE river_job
SET queue = %(to)s
WHERE id = ANY(ARRAY(
    SELECT id
    FROM river_job
    WHERE state = 'available' AND queue = %(queue)s
    ORDER BY priority, scheduled_at, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
RETURNING id;

-- name: job_move_later
UPDATE river_job
SET queue = %(to)s
WHERE id = ANY(ARRAY(
    SELECT id
    FROM river_job
    WHERE state IN ('retryable', 'scheduled') AND queue = %(queue)s
    ORDER BY scheduled_at, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
RETURNING id;

-- name: job_delete_available
DELETE FROM river_job
WHERE id = ANY(ARRAY(
    SELECT id
    FROM river_job
    WHERE state = 'available' AND queue = %(queue)s
    ORDER BY priority, scheduled_at, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
RETURNING id;

-- name: job_delete_later
DELETE FROM river_job
WHERE id = ANY(ARRAY(
    SELECT id
    FROM river_job
    WHERE state IN ('retryable', 'scheduled') AND queue = %(queue)s
    ORDER BY scheduled_at, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
RETURNING id;

-- name: queue_backlogs
-- An order is named where only a number is wanted: without it, what has few jobs would be looked for in the whole table.
SELECT asked.name,
    (
        SELECT count(*)
        FROM (
            SELECT
            FROM river_job
            WHERE state = 'available' AND queue = asked.name AND scheduled_at <= statement_timestamp()
            ORDER BY priority, scheduled_at, id
            LIMIT %(limit)s
        ) AS counted
    ),
    coalesce(extract(epoch FROM statement_timestamp() - (
        SELECT min(head.scheduled_at)
        FROM generate_series(1, 4) AS level (priority)
        CROSS JOIN LATERAL (
            SELECT scheduled_at
            FROM river_job
            WHERE state = 'available' AND queue = asked.name AND priority = level.priority
            ORDER BY scheduled_at
            LIMIT 1
        ) AS head
    )), 0)::float8
FROM unnest(%(names)s::text[]) AS asked (name);

-- name: queue_minute
SELECT date_trunc('minute', now());

-- name: queue_minute_prune
DELETE FROM django_river_queueminute WHERE minute < now() - %(kept)s::interval;

-- name: queue_minute_put
INSERT INTO django_river_queueminute (minute, queue, client_id, completed, failed, waits, runs)
SELECT %(minute)s, queue, %(client_id)s, completed, failed, waits::jsonb, runs::jsonb
FROM unnest(%(queues)s::text[], %(completed)s::int[], %(failed)s::int[], %(waits)s::text[], %(runs)s::text[])
    AS seen (queue, completed, failed, waits, runs)
ON CONFLICT (minute, queue, client_id) DO UPDATE
SET completed = EXCLUDED.completed, failed = EXCLUDED.failed, waits = EXCLUDED.waits, runs = EXCLUDED.runs;
