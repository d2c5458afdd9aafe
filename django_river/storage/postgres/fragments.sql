-- What several statements share. `-- include: claimed_by_us` on a line of its own stands for the text here.

-- fragment: claimed_by_us
SET state = 'running',
    attempt = least(attempt + 1, 32767),
    attempted_at = statement_timestamp(),
    attempted_by = CASE
        WHEN cardinality(attempted_by) >= %(attempted_by_limit)s
        THEN array_append(
            attempted_by[cardinality(attempted_by) - %(attempted_by_limit)s + 2:], %(client_id)s::text
        )
        ELSE array_append(attempted_by, %(client_id)s::text)
    END

-- fragment: claimed_jobs
-- As ClaimedJob has them; the last is how long the job has waited, in seconds.
RETURNING id, kind, queue, priority, attempt, max_attempts, coalesce(cardinality(errors), 0), args::text, metadata::text,
    extract(epoch FROM statement_timestamp() - scheduled_at)::float8

-- fragment: claimed_rows
-- The same for a statement that puts them in order yet.
RETURNING id, kind, queue, priority, attempt, max_attempts, coalesce(cardinality(errors), 0) AS errors,
    args::text, metadata::text, scheduled_at

-- fragment: with_term
-- What a leader writes counts only while the lease says so.
WITH term AS MATERIALIZED (
    SELECT FROM river_leader
    WHERE leader_id = %(leader_id)s AND elected_at = %(elected_at)s AND expires_at > statement_timestamp()
    FOR KEY SHARE
)

-- fragment: queues_with_jobs
-- From queue to queue along the fetch index: as long as the queues that have jobs are many, whatever the jobs are.
WITH RECURSIVE walk (queue) AS (
    SELECT min(queue) FROM river_job WHERE state = 'available'
    UNION ALL
    SELECT (SELECT min(queue) FROM river_job WHERE state = 'available' AND queue > walk.queue)
    FROM walk
    WHERE walk.queue IS NOT NULL
)
SELECT queue FROM walk WHERE queue IS NOT NULL

-- fragment: seconds_until_due
SELECT extract(epoch FROM min(scheduled_at) - clock_timestamp())::float8
FROM river_job
WHERE state IN ('retryable', 'scheduled')

-- fragment: job_due_now
INSERT INTO river_job (kind, args, queue, priority, max_attempts, metadata, tags, scheduled_at, created_at)
VALUES (
    %(kind)s, %(args)s, %(queue)s, %(priority)s, %(max_attempts)s, %(metadata)s, %(tags)s,
    statement_timestamp(), statement_timestamp()
)

-- fragment: plain_job_due_now
INSERT INTO river_job (kind, args, queue, priority, max_attempts, scheduled_at, created_at)
VALUES (
    %(kind)s, %(args)s, %(queue)s, %(priority)s, %(max_attempts)s, statement_timestamp(), statement_timestamp()
)
