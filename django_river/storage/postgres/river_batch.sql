-- Claims that batches need, see job_fetch. No more than so many jobs of a queue are looked at, for what is passed over may
-- be most of it. Those seen are locked one by one, in their order, until there are enough.

-- name: job_fetch_without
-- job_fetch, leaving out kinds of a queue that are younger than so many seconds. What is left out must not be locked, not
-- even for a moment: the client for which it is left would pass over it. So the age is compared with a scalar subquery,
-- which is evaluated where rows are seen; NOT EXISTS becomes a join, made after they are locked.
WITH claimed AS (
    UPDATE river_job
    -- include: claimed_by_us
    WHERE id = ANY(ARRAY(
        SELECT picked.id
        FROM unnest(%(queues)s::text[], %(limits)s::bigint[]) AS demand (queue, size)
        CROSS JOIN LATERAL (
            SELECT locked.id
            FROM (
                SELECT id, kind, scheduled_at
                FROM river_job
                WHERE state = 'available' AND queue = demand.queue AND scheduled_at <= statement_timestamp()
                ORDER BY priority, scheduled_at, id
                LIMIT %(depth)s
            ) AS seen
            CROSS JOIN LATERAL (
                SELECT id FROM river_job WHERE id = seen.id AND state = 'available' FOR UPDATE SKIP LOCKED
            ) AS locked
            WHERE seen.scheduled_at <= statement_timestamp() - make_interval(secs => coalesce((
                SELECT max(left_out.seconds)
                FROM unnest(%(out_queues)s::text[], %(out_kinds)s::text[], %(out_seconds)s::float8[])
                    AS left_out (queue, kind, seconds)
                WHERE left_out.queue = demand.queue AND left_out.kind = seen.kind
            ), 0))
            LIMIT demand.size
        ) AS picked
        LIMIT %(limit)s
    ))
    -- include: claimed_rows
)
SELECT id, kind, queue, priority, attempt, max_attempts, errors, args, metadata,
    extract(epoch FROM statement_timestamp() - scheduled_at)::float8
FROM claimed
ORDER BY priority, scheduled_at, id;

-- name: job_fetch_matching
-- More jobs of a kind, and with the same value of an argument if one is named.
WITH claimed AS (
    UPDATE river_job
    -- include: claimed_by_us
    WHERE id = ANY(ARRAY(
        SELECT picked.id
        FROM unnest(
            %(queues)s::text[], %(kinds)s::text[], %(arguments)s::text[], %(values)s::text[], %(limits)s::bigint[]
        ) AS wanted (queue, kind, argument, value, size)
        CROSS JOIN LATERAL (
            SELECT locked.id
            FROM (
                SELECT id, kind, args
                FROM river_job
                WHERE state = 'available' AND queue = wanted.queue AND scheduled_at <= statement_timestamp()
                ORDER BY priority, scheduled_at, id
                LIMIT %(depth)s
            ) AS seen
            CROSS JOIN LATERAL (
                SELECT id FROM river_job WHERE id = seen.id AND state = 'available' FOR UPDATE SKIP LOCKED
            ) AS locked
            WHERE seen.kind = wanted.kind
                AND (wanted.argument IS NULL OR seen.args -> wanted.argument = wanted.value::jsonb)
            LIMIT wanted.size
        ) AS picked
    ))
    -- include: claimed_rows
)
SELECT id, kind, queue, priority, attempt, max_attempts, errors, args, metadata,
    extract(epoch FROM statement_timestamp() - scheduled_at)::float8
FROM claimed
ORDER BY priority, scheduled_at, id;

-- name: client_list_living
SELECT id, queues::text
FROM django_river_client
WHERE heartbeat_at > statement_timestamp() - %(alive_for)s::interval AND lost_at IS NULL
ORDER BY id;
