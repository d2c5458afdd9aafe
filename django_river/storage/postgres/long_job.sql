-- Statements about running jobs, for the client that runs them.

-- name: job_beat_many
-- In the order of the ids, and past what others have locked: a sign of life is worth no waiting, another one follows.
UPDATE river_job AS job
SET metadata = CASE WHEN jsonb_typeof(job.metadata) = 'object' THEN job.metadata ELSE '{}' END
    || input.kept::jsonb
    || jsonb_build_object('django_river:heartbeat', input.said::jsonb || jsonb_build_object(
        'at', to_char(
            (statement_timestamp() - make_interval(secs => input.age)) AT TIME ZONE 'UTC',
            'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
        )
    ))
FROM unnest(
    %(ids)s::bigint[], %(attempts)s::smallint[], %(ages)s::float8[], %(said)s::text[], %(kept)s::text[]
) AS input (id, attempt, age, said, kept)
WHERE job.id = input.id
    AND job.id = ANY(ARRAY(
        SELECT id FROM river_job WHERE id = ANY(%(ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
    ))
    AND job.state = 'running'
    AND job.attempt = input.attempt
    AND job.attempted_by[cardinality(job.attempted_by)] = %(client_id)s
RETURNING job.id;

-- name: job_look
SELECT input.id, input.attempt, job.id IS NULL
FROM unnest(%(ids)s::bigint[], %(attempts)s::smallint[]) AS input (id, attempt)
LEFT JOIN (
    SELECT id, attempt, metadata ? 'cancel_attempted_at' AS is_cancelled
    FROM river_job
    WHERE id = ANY(%(ids)s::bigint[])
        AND state = 'running'
        AND attempted_by[cardinality(attempted_by)] = %(client_id)s
) AS job ON job.id = input.id AND job.attempt = input.attempt
WHERE job.id IS NULL OR job.is_cancelled;

-- name: fault_add
INSERT INTO django_river_fault AS fault (kind, what, day, count)
SELECT kind, what, (statement_timestamp() AT TIME ZONE 'UTC')::date, count
FROM unnest(%(kinds)s::text[], %(whats)s::text[], %(counts)s::bigint[]) AS input (kind, what, count)
ORDER BY kind, what
ON CONFLICT (kind, what, day) DO UPDATE SET count = fault.count + EXCLUDED.count;

-- name: run_time_add
INSERT INTO django_river_runtime (kind, at, seconds)
SELECT kind, statement_timestamp(), seconds
FROM unnest(%(kinds)s::text[], %(seconds)s::float8[]) AS input (kind, seconds);
