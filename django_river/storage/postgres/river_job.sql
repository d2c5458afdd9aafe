-- Statements on river_job. Rules: claim by id = ANY(ARRAY(...)), never by a join with a CTE (its plan scans the table);
-- lock many rows in the order of their ids; write results through the fence. Now is the statement's moment, not
-- that of a transaction, which may have begun before the job was stored. Metadata that is no object counts as empty.

-- name: job_fetch
-- One statement for all queues. The limit inside bounds each queue, the one outside bounds the client. An attempt is
-- counted up to what a smallint holds: a row beyond that would make every claim fail. Where the last claim from a queue
-- ended, this one goes on: where that job stood then, for it may be due again by now, and later. If it has been deleted,
-- the claim begins at the start of its priority.
WITH claimed AS (
    UPDATE river_job
    -- include: claimed_by_us
    WHERE id = ANY(ARRAY(
        SELECT picked.id
        FROM unnest(
            %(queues)s::text[], %(limits)s::bigint[], %(after_ids)s::bigint[], %(after_priorities)s::smallint[],
            %(after_waited)s::float8[]
        ) AS demand (queue, size, after_id, after_priority, after_waited)
        CROSS JOIN LATERAL (
            SELECT id
            FROM river_job
            WHERE state = 'available' AND queue = demand.queue AND scheduled_at <= statement_timestamp()
                AND (priority, scheduled_at, id) > (
                    coalesce(demand.after_priority, 0::smallint),
                    coalesce((
                        SELECT attempted_at - make_interval(secs => demand.after_waited)
                        FROM river_job
                        WHERE id = demand.after_id
                    ), '-infinity'),
                    coalesce(demand.after_id, 0)
                )
            ORDER BY priority, scheduled_at, id
            LIMIT demand.size
            FOR UPDATE SKIP LOCKED
        ) AS picked
        LIMIT %(limit)s
    ))
    -- include: claimed_rows
)
SELECT id, kind, queue, priority, attempt, max_attempts, errors, args, metadata,
    extract(epoch FROM statement_timestamp() - scheduled_at)::float8
FROM claimed
ORDER BY priority, scheduled_at, id;

-- name: job_fetch_of_queue
-- The same for one queue, planned in half the time, which is what an idle worker's latency is made of. Whoever asks puts
-- the rows in order by the last column.
UPDATE river_job
-- include: claimed_by_us
WHERE id = ANY(ARRAY(
    SELECT id
    FROM river_job
    WHERE state = 'available' AND queue = %(queue)s AND scheduled_at <= statement_timestamp()
    ORDER BY priority, scheduled_at, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
-- include: claimed_jobs

-- name: job_fetch_of_queue_after
-- The same, from where the last claim ended: entries of claimed jobs that the index cannot forget, because somebody's
-- transaction is open, are not walked again. If that job has been deleted meanwhile, nothing is found.
UPDATE river_job
-- include: claimed_by_us
WHERE id = ANY(ARRAY(
    SELECT id
    FROM river_job
    WHERE state = 'available' AND queue = %(queue)s AND scheduled_at <= statement_timestamp()
        AND (priority, scheduled_at, id) > (
            %(after_priority)s::smallint,
            (
                SELECT attempted_at - make_interval(secs => %(after_waited)s)
                FROM river_job
                WHERE id = %(after_id)s
            ),
            %(after_id)s
        )
    ORDER BY priority, scheduled_at, id
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
))
-- include: claimed_jobs

-- name: job_queues
-- include: queues_with_jobs

-- name: job_insert_now
-- What is to run at once, by itself, in a queue that took jobs a moment ago: planned in a fraction of the time that the
-- general statement takes. The moment comes as text, which is read sooner than psycopg is ready to read a moment.
-- include: job_due_now
RETURNING id, created_at::text;

-- name: job_insert_now_and_notify
-- include: job_due_now
RETURNING id, created_at::text, pg_notify(current_schema() || '.river_insert', %(payload)s);

-- name: job_insert_plain_now
-- Without metadata and tags, as most are: two values less to quote and to parse save a fortieth of the whole.
-- include: plain_job_due_now
RETURNING id, created_at::text;

-- name: job_insert_plain_now_and_notify
-- include: plain_job_due_now
RETURNING id, created_at::text, pg_notify(current_schema() || '.river_insert', %(payload)s);

-- name: job_insert
-- With a look at the queue's row, which may say how often to try, or that the queue takes no jobs any more: then none is
-- inserted.
INSERT INTO river_job (
    kind, args, queue, priority, max_attempts, metadata, tags, scheduled_at, state, created_at
)
SELECT %(kind)s, %(args)s::jsonb, %(queue)s::text, %(priority)s,
    coalesce(CASE WHEN %(inherits)s THEN said.settings ->> 'max_attempts' END::smallint, %(max_attempts)s),
    %(metadata)s::jsonb, %(tags)s::varchar(255)[], due.at,
    (CASE
        WHEN %(pending)s::boolean THEN 'pending'
        WHEN due.at > statement_timestamp() THEN 'scheduled'
        ELSE 'available'
    END)::river_job_state,
    statement_timestamp()
FROM (SELECT coalesce(
    %(scheduled_at)s::timestamptz, statement_timestamp() + coalesce(%(delay)s::interval, '0')
) AS at) AS due
LEFT JOIN django_river_queuerow AS said ON said.name = %(queue)s::text
WHERE coalesce(said.removal, '') = ''
RETURNING id, state::text, attempt, scheduled_at, created_at, false, max_attempts, CASE
    WHEN %(payload)s::text IS NOT NULL THEN pg_notify(current_schema() || '.river_insert', %(payload)s::text)::text
END;

-- name: job_insert_many
-- Ids are drawn first, so that each answer finds its question whatever order the rows come back in. Keys are taken in
-- their own order, so that two batches that share keys wait for one another and never both. If any of the queues takes no
-- jobs any more, none is inserted.
WITH input AS MATERIALIZED (
    SELECT drawn.*,
        coalesce(CASE WHEN inherits THEN said.settings ->> 'max_attempts' END::smallint, given_attempts) AS max_attempts,
        coalesce(given_at, statement_timestamp() + make_interval(secs => coalesce(delay, 0))) AS due_at,
        coalesce(said.removal, '') <> '' AS is_closed
    FROM (
        -- Before the join, which keeps no order.
        SELECT nextval('river_job_id_seq') AS id, t.*
        FROM unnest(
            %(kinds)s::text[], %(args)s::text[], %(queues)s::text[], %(priorities)s::smallint[],
            %(max_attempts)s::smallint[], %(inherits)s::boolean[], %(metadata)s::text[], %(tags)s::text[],
            %(scheduled_at)s::timestamptz[], %(delays)s::float8[], %(pending)s::boolean[], %(unique_keys)s::bytea[],
            %(unique_states)s::int[]
        ) WITH ORDINALITY AS t (
            kind, args, queue, priority, given_attempts, inherits, metadata, tags, given_at, delay, pending, unique_key,
            unique_states, position
        )
    ) AS drawn
    LEFT JOIN django_river_queuerow AS said ON said.name = drawn.queue
), inserted AS (
    INSERT INTO river_job (
        id, kind, args, queue, priority, max_attempts, metadata, tags, scheduled_at, state, created_at,
        unique_key, unique_states
    )
    SELECT id, kind, args::jsonb, queue, priority, max_attempts, metadata::jsonb,
        string_to_array(tags, ',')::varchar(255)[], due_at,
        (CASE
            WHEN pending THEN 'pending'
            WHEN due_at > statement_timestamp() THEN 'scheduled'
            ELSE 'available'
        END)::river_job_state,
        statement_timestamp(), unique_key, unique_states::bit(8)
    FROM input
    WHERE NOT EXISTS (SELECT FROM input WHERE is_closed)
    ORDER BY unique_key, position
    ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL
        AND unique_states IS NOT NULL
        AND river_job_state_in_bitmask(unique_states, state)
        DO NOTHING
    RETURNING id, state, scheduled_at, created_at
)
SELECT inserted.id, inserted.state::text, 0, inserted.scheduled_at, inserted.created_at, false, max_attempts, is_closed
FROM input
LEFT JOIN inserted USING (id)
ORDER BY input.position;

-- name: job_insert_ids
-- For COPY: the ids it will use, and the moment it speaks of in a last row: once, for it takes longer to read than ids.
SELECT nextval('river_job_id_seq'), NULL FROM generate_series(1, %(count)s)
UNION ALL
SELECT NULL, statement_timestamp();

-- name: job_insert_copy
COPY river_job (
    id, kind, args, queue, priority, max_attempts, metadata, tags, scheduled_at, state, created_at
) FROM STDIN;

-- name: job_by_unique_key
-- Who holds the keys. A statement of its own: it must see what was committed while the insert waited.
SELECT id, state::text, attempt, scheduled_at, created_at, true, unique_key
FROM river_job
WHERE unique_key = ANY(%(unique_keys)s::bytea[])
    AND unique_key IS NOT NULL
    AND unique_states IS NOT NULL
    AND river_job_state_in_bitmask(unique_states, state);

-- name: job_lock
-- In the order of the ids, as all statements do that change many rows.
SELECT id FROM river_job WHERE id = ANY(%(ids)s::bigint[]) ORDER BY id FOR NO KEY UPDATE;

-- name: job_complete
-- Plain successes of one attempt number: the common case, and 40 per cent cheaper than arrays of values.
UPDATE river_job
SET state = 'completed', finalized_at = statement_timestamp()
WHERE id = ANY(%(ids)s::bigint[])
    AND state = 'running'
    AND attempt = %(attempt)s
    AND attempted_by[cardinality(attempted_by)] = %(client_id)s
RETURNING id;

-- name: job_set_state_many
-- A cancel that was asked for wins over every state that would run the job again. The test is written out each time:
-- it must look at the row as it is when it is locked, which a lateral join would not. The ids stand there twice: the
-- join alone may read the whole index of running jobs, dead ones and all.
UPDATE river_job AS job
SET state = CASE
        WHEN input.state IN ('available', 'retryable', 'scheduled') AND job.metadata ? 'cancel_attempted_at'
        THEN 'cancelled'
        ELSE input.state
    END,
    attempt = CASE
        WHEN input.give_attempt_back AND NOT job.metadata ? 'cancel_attempted_at' THEN job.attempt - 1
        ELSE job.attempt
    END,
    finalized_at = CASE
        WHEN input.state IN ('cancelled', 'completed', 'discarded') OR job.metadata ? 'cancel_attempted_at'
        THEN statement_timestamp()
    END,
    scheduled_at = CASE
        WHEN input.delay IS NULL OR job.metadata ? 'cancel_attempted_at' THEN job.scheduled_at
        ELSE statement_timestamp() + make_interval(secs => input.delay)
    END,
    errors = CASE
        WHEN input.error IS NULL THEN job.errors
        ELSE array_append(job.errors, jsonb_build_object(
            'at', to_char(job.attempted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        ) || input.error::jsonb)
    END,
    metadata = CASE
        WHEN input.metadata IS NULL THEN job.metadata
        WHEN jsonb_typeof(job.metadata) = 'object' THEN job.metadata || input.metadata::jsonb
        ELSE input.metadata::jsonb
    END
FROM unnest(
    %(ids)s::bigint[], %(attempts)s::smallint[], %(states)s::text[]::river_job_state[], %(delays)s::float8[],
    %(errors)s::text[], %(metadata)s::text[], %(give_back)s::boolean[]
) AS input (id, attempt, state, delay, error, metadata, give_attempt_back)
WHERE job.id = input.id
    AND job.id = ANY(%(ids)s::bigint[])
    AND job.state = 'running'
    AND job.attempt = input.attempt
    AND job.attempted_by[cardinality(job.attempted_by)] = %(client_id)s
RETURNING job.id, job.state::text;

-- name: job_release_unknown
UPDATE river_job
SET state = (CASE WHEN metadata ? 'cancel_attempted_at' THEN 'cancelled' ELSE 'available' END)::river_job_state,
    finalized_at = CASE WHEN metadata ? 'cancel_attempted_at' THEN statement_timestamp() END,
    attempt = attempt - 1
WHERE state = 'running'
    AND attempted_by[cardinality(attempted_by)] = %(client_id)s
    AND id <> ALL(%(known_ids)s::bigint[])
RETURNING id;

-- name: job_has_due
-- Each question has an index of its own; asked as one, they would read the table.
WITH worked AS MATERIALIZED (
    SELECT asked.name
    FROM unnest(%(queues)s::text[]) AS asked (name)
    WHERE NOT EXISTS (SELECT FROM river_queue WHERE river_queue.name = asked.name AND paused_at IS NOT NULL)
)
SELECT EXISTS (
    SELECT
    FROM worked
    CROSS JOIN LATERAL (
        SELECT
        FROM river_job
        WHERE state = 'available' AND queue = worked.name AND scheduled_at <= statement_timestamp()
        -- Without an order, a table with many jobs waiting would be read from its beginning: those that are over.
        ORDER BY priority, scheduled_at, id
        LIMIT 1
    ) AS due
) OR (%(scheduled)s AND EXISTS (
    SELECT
    FROM (
        SELECT queue
        FROM river_job
        WHERE state IN ('retryable', 'scheduled') AND scheduled_at <= statement_timestamp()
        ORDER BY scheduled_at, id
        OFFSET 0
    ) AS due
    JOIN worked ON worked.name = due.queue
));

-- name: job_cancel
-- A job that does not hold its key must not get it by being cancelled: its bit for that state is cleared.
WITH locked AS MATERIALIZED (
    SELECT id, queue, state FROM river_job WHERE id = ANY(%(ids)s::bigint[]) ORDER BY id FOR UPDATE
), changed AS (
    UPDATE river_job
    SET state = CASE WHEN state = 'running' THEN state ELSE 'cancelled' END,
        finalized_at = CASE WHEN state <> 'running' THEN statement_timestamp() END,
        unique_states = CASE
            WHEN state = 'running' OR river_job_state_in_bitmask(unique_states, state) THEN unique_states
            ELSE set_bit(unique_states, 6, 0)
        END,
        metadata = CASE WHEN jsonb_typeof(metadata) = 'object' THEN metadata ELSE '{}' END || jsonb_build_object(
            'cancel_attempted_at',
            to_char(statement_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        )
    WHERE id = ANY(ARRAY(
        SELECT id FROM locked WHERE state NOT IN ('cancelled', 'completed', 'discarded')
    ))
    RETURNING id, state
)
SELECT locked.id, locked.queue, coalesce(changed.state, locked.state)::text, changed.id IS NOT NULL
FROM locked
LEFT JOIN changed USING (id)
ORDER BY locked.id;

-- name: job_retry
WITH locked AS MATERIALIZED (
    SELECT id, queue, state, unique_key, unique_states
    FROM river_job
    WHERE id = ANY(%(ids)s::bigint[])
    ORDER BY id
    FOR UPDATE
), contender AS (
    SELECT id, unique_key, row_number() OVER (PARTITION BY unique_key ORDER BY id) AS place
    FROM locked
    WHERE state <> 'running'
        AND unique_key IS NOT NULL
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
), changed AS (
    UPDATE river_job
    SET state = 'available',
        finalized_at = NULL,
        scheduled_at = CASE
            WHEN state = 'available' THEN least(scheduled_at, statement_timestamp())
            ELSE statement_timestamp()
        END,
        max_attempts = CASE WHEN attempt >= max_attempts THEN least(attempt + 1, 32767) ELSE max_attempts END,
        metadata = CASE
            WHEN jsonb_typeof(metadata) = 'object' THEN metadata - '{cancel_attempted_at,unique_key_conflict}'::text[]
            ELSE '{}'
        END
    WHERE id = ANY(ARRAY(SELECT id FROM locked WHERE state <> 'running'))
        AND id <> ALL(ARRAY(SELECT id FROM loser))
    RETURNING id, state
)
SELECT locked.id, locked.queue, coalesce(changed.state, locked.state)::text, changed.id IS NOT NULL
FROM locked
LEFT JOIN changed USING (id)
ORDER BY locked.id;

-- name: job_delete
WITH locked AS MATERIALIZED (
    SELECT id, queue, state FROM river_job WHERE id = ANY(%(ids)s::bigint[]) ORDER BY id FOR UPDATE
), changed AS (
    DELETE FROM river_job
    WHERE id = ANY(ARRAY(SELECT id FROM locked WHERE state <> 'running'))
    RETURNING id
)
SELECT locked.id, locked.queue, locked.state::text, changed.id IS NOT NULL
FROM locked
LEFT JOIN changed USING (id)
ORDER BY locked.id;
