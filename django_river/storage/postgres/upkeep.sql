-- What the leader does. Each statement that writes begins with the term in whose name it is run. The lock keeps that
-- term's row from being deleted, and so the next term from beginning, until the statement is committed; it does not keep
-- the leader from renewing, which changes no key. Rows that others hold are skipped.

-- name: client_clean
-- include: with_term
DELETE FROM django_river_client
WHERE id = ANY(ARRAY(
    SELECT id
    FROM django_river_client
    WHERE heartbeat_at < statement_timestamp() - %(gone_for)s::interval AND EXISTS (SELECT FROM term)
    ORDER BY heartbeat_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
RETURNING id;

-- name: index_drop
DROP INDEX CONCURRENTLY IF EXISTS {index};

-- name: index_leftovers
-- What a rebuilding that is at work has made so far is left to it.
SELECT indexrelid::regclass::text
FROM pg_index
JOIN pg_class ON pg_class.oid = indexrelid
WHERE indrelid = 'river_job'::regclass
    AND NOT indisvalid
    AND relname ~ '_cc(new|old)[0-9]*$'
    AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index WHERE relid = 'river_job'::regclass)
ORDER BY 1;

-- name: index_list
SELECT indexrelid::regclass::text
FROM pg_index
WHERE indrelid = 'river_job'::regclass AND indisvalid
ORDER BY pg_relation_size(indexrelid), 1;

-- name: index_rebuild
REINDEX INDEX CONCURRENTLY {index};

-- name: index_seconds_until
SELECT extract(epoch FROM today + CASE WHEN today > utc.now THEN '0 hours' ELSE '24 hours' END::interval - utc.now)::float8
FROM (SELECT statement_timestamp() AT TIME ZONE 'UTC') AS utc (now)
CROSS JOIN LATERAL (
    SELECT date_trunc('day', utc.now) + make_interval(hours => %(hour)s, mins => %(minute)s)
) AS given (today);

-- name: job_clean
-- Finished jobs stand in no index by time. So they are found in the order of their ids, which is that of their
-- creation, nearly: the caller remembers how far it came. Of cancelled and discarded jobs there is an index. Which part
-- of the conditions on the state holds is known when the statement is planned.
-- include: with_term
, page AS MATERIALIZED (
    SELECT id, created_at,
        state = %(state)s::river_job_state
            AND finalized_at < statement_timestamp() - %(kept_for)s::interval
            AND (queue = ANY(%(queues)s::text[])) <> %(is_for_others)s AS is_over
    FROM river_job
    WHERE id > %(after)s
        AND id <= %(after)s::bigint + %(span)s::bigint
        AND (%(state)s::river_job_state = 'completed' OR state = %(state)s::river_job_state)
        AND EXISTS (SELECT FROM term)
    ORDER BY id
    LIMIT %(limit)s
), deleted AS (
    DELETE FROM river_job
    WHERE id = ANY(ARRAY(
        SELECT id
        FROM river_job
        WHERE id = ANY(ARRAY(SELECT id FROM page WHERE is_over))
            AND state = %(state)s::river_job_state
            AND finalized_at < statement_timestamp() - %(kept_for)s::interval
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING id
), front AS MATERIALIZED (
    SELECT statement_timestamp() - %(kept_for)s::interval - %(slack)s::interval AS at
), seen AS (
    SELECT count(*) AS examined,
        count(*) = %(limit)s AS is_full,
        max(id) FILTER (WHERE created_at < (SELECT at FROM front)) AS old_id,
        count(*) = 0 OR coalesce(max(id) FILTER (WHERE created_at < (SELECT at FROM front)) = max(id), false)
            AS is_old_to_the_end,
        EXISTS (SELECT FROM term) AND %(after)s::bigint + %(span)s::bigint < coalesce((
            SELECT max(id)
            FROM river_job
            WHERE %(state)s::river_job_state = 'completed' OR state = %(state)s::river_job_state
        ), 0) AS has_others
    FROM page
)
SELECT examined,
    (SELECT count(*) FROM deleted),
    CASE WHEN is_old_to_the_end AND NOT is_full AND has_others THEN %(after)s::bigint + %(span)s::bigint ELSE old_id END,
    is_old_to_the_end AND (is_full OR has_others)
FROM seen;

-- name: client_watch
-- Whether a session is gone is asked by trying to share its lock, for as long as the statement lasts. Its key says when
-- the server was started on which it was taken: of others' sessions this server knows nothing.
-- What else a leader looks at every second is asked on the way; the queues stand in the first row only.
SELECT client.id, client.session, extract(epoch FROM statement_timestamp() - client.heartbeat_at)::float8,
    coalesce(client.session >> 43 = server.mark AND pg_try_advisory_xact_lock_shared(client.session), false),
    extract(epoch FROM statement_timestamp())::float8,
    server.due_in,
    CASE WHEN %(with_queues)s AND row_number() OVER (ORDER BY client.id) = 1 THEN ARRAY(
        -- include: queues_with_jobs
    ) END
FROM (
    SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000)::bigint & 1048575, (
        -- include: seconds_until_due
    )
) AS server (mark, due_in)
LEFT JOIN django_river_client AS client ON client.lost_at IS NULL
ORDER BY client.id;

-- name: client_lose
-- include: with_term
UPDATE django_river_client
SET lost_at = statement_timestamp(), lost_why = %(why)s
WHERE id = %(id)s
    AND EXISTS (SELECT FROM term)
    AND lost_at IS NULL
    AND session IS NOT DISTINCT FROM %(session)s
    AND heartbeat_at < statement_timestamp() - %(silent_for)s::interval
    AND (%(why)s <> 'client_lost' OR coalesce(
        session >> 43 = (extract(epoch FROM pg_postmaster_start_time()) * 1000)::bigint & 1048575
            AND pg_try_advisory_xact_lock_shared(session),
        false
    ))
RETURNING id;

-- name: job_old
SELECT id, kind, queue, priority, attempt, attempted_by[cardinality(attempted_by)],
    extract(epoch FROM statement_timestamp() - attempted_at)::float8
FROM river_job
WHERE state = 'running'
    AND attempted_at < statement_timestamp() - %(older_than)s::interval
    AND cardinality(attempted_by) > 0
    AND (metadata -> 'django_river:suspicious' -> 'attempt') IS DISTINCT FROM to_jsonb(attempt)
ORDER BY id
LIMIT %(limit)s;

-- name: job_flag
-- include: with_term
UPDATE river_job
SET metadata = CASE WHEN jsonb_typeof(metadata) = 'object' THEN metadata ELSE '{}' END
    || jsonb_build_object('django_river:suspicious', jsonb_build_object(
        'at', to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'attempt', attempt, 'usual', %(usual)s::float8
    ))
    || CASE
        WHEN %(cancel)s THEN jsonb_build_object('cancel_attempted_at', to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')) ELSE '{}'
    END
WHERE id = %(id)s
    AND EXISTS (SELECT FROM term)
    AND state = 'running'
    AND attempt = %(attempt)s
    AND attempted_by[cardinality(attempted_by)] = %(client_id)s
RETURNING id;

-- name: job_take
-- A cancel that was asked for is kept.
-- include: with_term
, taken AS (
    UPDATE river_job
    SET state = (CASE
            WHEN metadata ? 'cancel_attempted_at' THEN 'cancelled'
            WHEN attempt >= max_attempts THEN 'discarded'
            ELSE 'retryable'
        END)::river_job_state,
        finalized_at = CASE
            WHEN metadata ? 'cancel_attempted_at' OR attempt >= max_attempts THEN statement_timestamp()
        END,
        scheduled_at = statement_timestamp(),
        errors = array_append(errors, jsonb_build_object(
            'at', to_char(attempted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'attempt', attempt, 'error', %(error)s::text, 'trace', ''
        ))
    WHERE id = %(id)s
        AND EXISTS (SELECT FROM term)
        AND state = 'running'
        AND attempt = %(attempt)s
        AND attempted_by[cardinality(attempted_by)] = %(client_id)s
    RETURNING id, kind, extract(epoch FROM statement_timestamp() - attempted_at)::float8 AS seconds
)
INSERT INTO django_river_runtime (kind, at, seconds, was_cut_off)
SELECT kind, statement_timestamp(), seconds, true FROM taken
RETURNING id;

-- name: run_time_clean
-- include: with_term
DELETE FROM django_river_runtime
WHERE EXISTS (SELECT FROM term) AND id = ANY(ARRAY(
    SELECT id
    FROM (
        SELECT id, at,
            row_number() OVER (PARTITION BY kind, date_trunc('hour', at) ORDER BY random()) AS in_hour,
            row_number() OVER (PARTITION BY kind ORDER BY id DESC) AS newest
        FROM django_river_runtime
    ) AS ranked
    WHERE in_hour > %(kept_per_hour)s
        OR at < statement_timestamp() - %(kept_for)s::interval
        OR (at < statement_timestamp() - interval '1 day' AND newest > %(kept_older)s)
));

-- name: run_time_list
SELECT kind, extract(epoch FROM statement_timestamp() - at)::float8, seconds, was_cut_off
FROM django_river_runtime
ORDER BY id;

-- name: job_rescue
-- What cannot be rescued is kept out of the page, so that it cannot fill it. Nothing a row may contain makes it fail. What
-- a client has claimed since it was taken for lost says that it lives: it is about to come back.
-- include: with_term
, picked AS MATERIALIZED (
    SELECT job.id, client.lost_why AS why,
        job.metadata ? 'cancel_attempted_at' AS is_cancelled,
        job.kind = ANY(%(known_kinds)s::text[]) AS is_known,
        1 + CASE
            WHEN jsonb_typeof(job.metadata -> 'river:rescue_count') = 'number'
            THEN (job.metadata ->> 'river:rescue_count')::numeric
            ELSE 0
        END AS rescues
    FROM river_job AS job
    LEFT JOIN django_river_client AS client
        ON client.id = job.attempted_by[cardinality(job.attempted_by)]
            AND client.lost_at IS NOT NULL
            AND coalesce(job.attempted_at, job.created_at)
                <= greatest(client.lost_at, statement_timestamp() - %(client_timeout)s::interval)
    WHERE job.state = 'running'
        AND EXISTS (SELECT FROM term)
        AND (client.id IS NOT NULL OR (
            coalesce(job.attempted_at, job.created_at) < statement_timestamp() - %(rescue_after)s::interval
            AND NOT EXISTS (
                SELECT FROM django_river_client AS alive
                WHERE alive.id = job.attempted_by[cardinality(job.attempted_by)]
                    AND alive.heartbeat_at > statement_timestamp() - %(client_timeout)s::interval
            )
        ))
        AND (
            job.attempt < job.max_attempts
            OR job.metadata ? 'cancel_attempted_at'
            OR job.kind = ANY(%(known_kinds)s::text[])
        )
    ORDER BY job.id
    LIMIT %(limit)s
    FOR UPDATE OF job SKIP LOCKED
)
UPDATE river_job AS job
SET state = (CASE
        WHEN picked.is_cancelled THEN 'cancelled'
        WHEN job.attempt >= job.max_attempts THEN 'discarded'
        WHEN picked.is_known AND picked.rescues >= %(poison_after)s THEN 'discarded'
        ELSE 'retryable'
    END)::river_job_state,
    finalized_at = CASE
        WHEN picked.is_cancelled
            OR job.attempt >= job.max_attempts
            OR (picked.is_known AND picked.rescues >= %(poison_after)s)
        THEN statement_timestamp()
    END,
    scheduled_at = statement_timestamp(),
    errors = array_append(job.errors, jsonb_build_object(
        'at', to_char(
            coalesce(job.attempted_at, job.created_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
        ),
        'attempt', job.attempt,
        'error', CASE picked.why
            WHEN 'client_lost' THEN 'ClientLost: client lost: '
            WHEN 'client_stale' THEN 'ClientStale: client lost: not heard of for long: '
            ELSE 'rescued: client '
        END || coalesce(job.attempted_by[cardinality(job.attempted_by)], 'unknown') || CASE
            WHEN picked.why IS NULL THEN ' is gone' ELSE ''
        END || CASE
            WHEN picked.is_known AND NOT picked.is_cancelled AND picked.rescues >= %(poison_after)s
            THEN '; quarantined: clients lost with this job: ' || picked.rescues
            ELSE ''
        END,
        'trace', ''
    )),
    metadata = CASE WHEN jsonb_typeof(job.metadata) = 'object' THEN job.metadata ELSE '{}' END
        || jsonb_build_object('river:rescue_count', picked.rescues)
FROM picked
WHERE job.id = picked.id AND job.id = ANY(ARRAY(SELECT id FROM picked))
RETURNING job.id, job.kind, job.queue, job.state::text, coalesce(picked.why, ''),
    picked.is_known AND NOT picked.is_cancelled AND picked.rescues >= %(poison_after)s;

-- name: job_schedule
-- All at once, but for those that have to take their unique key to become available: somebody may hold it, or be about
-- to, and others must not wait for that. Those are answered by their ids, and then tried by job_schedule_unique.
-- Without a leader's id: for the named queues, as long as no term is in force.
-- include: with_term
, due AS MATERIALIZED (
    SELECT id,
        unique_key IS NOT NULL
            AND unique_states IS NOT NULL
            AND river_job_state_in_bitmask(unique_states, 'available')
            AND NOT river_job_state_in_bitmask(unique_states, state) AS takes_key
    FROM river_job
    WHERE state IN ('retryable', 'scheduled')
        AND scheduled_at <= statement_timestamp()
        AND (%(queues)s::text[] IS NULL OR queue = ANY(%(queues)s::text[]))
        AND (EXISTS (SELECT FROM term) OR (
            %(leader_id)s::text IS NULL
            AND NOT EXISTS (SELECT FROM river_leader WHERE expires_at > statement_timestamp())
        ))
    ORDER BY scheduled_at, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), moved AS (
    UPDATE river_job
    SET state = 'available'
    WHERE id = ANY(ARRAY(SELECT id FROM due WHERE NOT takes_key))
    RETURNING queue
)
SELECT queue, count(*), NULL::bigint[],
    pg_notify(current_schema() || '.river_insert', json_build_object('queue', queue)::text)::text
FROM moved
GROUP BY queue
UNION ALL
SELECT NULL, 0, array_agg(id), NULL FROM due WHERE takes_key HAVING count(*) > 0;

-- name: job_schedule_unique
-- Whoever takes or frees one of the keys is waited for, but not long. A loser never gets the key by being discarded: its
-- bit for that state is cleared. The holder is looked up row by row: EXISTS might hash all unique jobs there are.
WITH patience AS MATERIALIZED (
    SELECT set_config('lock_timeout', %(lock_timeout)s, true)
), term AS MATERIALIZED (
    SELECT FROM river_leader
    WHERE leader_id = %(leader_id)s AND elected_at = %(elected_at)s AND expires_at > statement_timestamp()
    FOR KEY SHARE
), due AS MATERIALIZED (
    SELECT id, state, unique_key, unique_states, scheduled_at
    FROM river_job
    WHERE id = ANY(%(ids)s::bigint[])
        AND state IN ('retryable', 'scheduled')
        AND scheduled_at <= statement_timestamp()
        AND EXISTS (SELECT FROM patience)
        AND (EXISTS (SELECT FROM term) OR (
            %(leader_id)s::text IS NULL
            AND NOT EXISTS (SELECT FROM river_leader WHERE expires_at > statement_timestamp())
        ))
    FOR UPDATE SKIP LOCKED
), contender AS (
    SELECT id, unique_key, row_number() OVER (PARTITION BY unique_key ORDER BY scheduled_at, id) AS place
    FROM due
    WHERE unique_key IS NOT NULL
        AND unique_states IS NOT NULL
        AND river_job_state_in_bitmask(unique_states, 'available')
        AND NOT river_job_state_in_bitmask(unique_states, state)
), loser AS MATERIALIZED (
    SELECT id
    FROM contender
    WHERE place > 1 OR (
        SELECT true
        FROM river_job AS holder
        WHERE holder.unique_key = contender.unique_key
            AND holder.unique_key IS NOT NULL
            AND holder.unique_states IS NOT NULL
            AND river_job_state_in_bitmask(holder.unique_states, holder.state)
        LIMIT 1
    )
), discarded AS (
    UPDATE river_job
    SET state = 'discarded',
        finalized_at = statement_timestamp(),
        unique_states = set_bit(unique_states, 4, 0),
        metadata = CASE WHEN jsonb_typeof(metadata) = 'object' THEN metadata ELSE '{}' END
            || '{"unique_key_conflict": "scheduler_discarded"}'
    WHERE id = ANY(ARRAY(SELECT id FROM loser))
), moved AS (
    UPDATE river_job
    SET state = 'available'
    WHERE id = ANY(ARRAY(SELECT id FROM due EXCEPT SELECT id FROM loser))
    RETURNING queue
)
SELECT queue, count(*),
    pg_notify(current_schema() || '.river_insert', json_build_object('queue', queue)::text)::text
FROM moved
GROUP BY queue;

-- name: job_seconds_until_due
-- include: seconds_until_due

-- name: leader_lasts
SELECT EXISTS (
    SELECT FROM river_leader
    WHERE leader_id = %(leader_id)s AND elected_at = %(elected_at)s AND expires_at > statement_timestamp()
);

-- name: leader_lease
SELECT extract(epoch FROM expires_at - statement_timestamp())::float8 FROM river_leader;

-- name: queue_clean
-- include: with_term
DELETE FROM river_queue
WHERE name = ANY(ARRAY(
    SELECT name
    FROM river_queue AS idle
    WHERE name = ANY(%(names)s::text[])
        AND updated_at < statement_timestamp() - %(untouched_for)s::interval
        AND paused_at IS NULL
        AND metadata = '{}'
        AND NOT EXISTS (SELECT FROM river_job WHERE state = 'available' AND queue = idle.name)
        AND NOT EXISTS (SELECT FROM django_river_queuerow AS said WHERE said.name = idle.name)
        AND EXISTS (SELECT FROM term)
    ORDER BY name
    FOR UPDATE SKIP LOCKED
))
RETURNING name;

-- name: queue_idle
SELECT name
FROM river_queue AS idle
WHERE updated_at < statement_timestamp() - %(untouched_for)s::interval
    AND paused_at IS NULL
    AND metadata = '{}'
    AND name <> ALL(%(keep)s::text[])
    AND NOT EXISTS (SELECT FROM river_job WHERE state = 'available' AND queue = idle.name)
    AND NOT EXISTS (SELECT FROM django_river_queuerow AS said WHERE said.name = idle.name)
ORDER BY updated_at
LIMIT %(limit)s;

-- name: queue_names
SELECT name FROM river_queue ORDER BY name;

-- name: queue_search
SELECT array_agg(DISTINCT queue) FILTER (WHERE queue = ANY(%(names)s::text[])), max(id)
FROM (SELECT id, queue FROM river_job WHERE id > %(after)s ORDER BY id LIMIT %(limit)s) AS page;
