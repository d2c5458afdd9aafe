-- What the leader does; see upkeep.sql of Postgres, and what river.sql says of all statements here. A statement that writes
-- asks for the term itself, or follows leader_lasts in a transaction that has the write lock: nobody else can begin a term
-- meanwhile.

-- name: client_clean
DELETE FROM django_river_client
WHERE id IN (
    SELECT id FROM django_river_client WHERE heartbeat_at < :gone_before ORDER BY heartbeat_at LIMIT :limit
)
    AND EXISTS (
        SELECT 1 FROM river_leader WHERE leader_id = :leader_id AND elected_at = :elected_at AND expires_at > :now
    )
RETURNING id;

-- name: job_clean
-- Since the page was read, one of them may have been retried.
DELETE FROM river_job
WHERE id IN (SELECT value FROM json_each(:ids)) AND state = :state AND finalized_at < :kept_after
RETURNING id;

-- name: job_last
SELECT max(id) FROM river_job;

-- name: job_last_failed
SELECT max(id) FROM river_job WHERE state IN ('cancelled', 'discarded') AND state = :state;

-- name: job_page
SELECT id, created_at < :front, state = :state AND finalized_at < :kept_after AND (
    queue IN (SELECT value FROM json_each(:queues))
) <> :is_for_others
FROM river_job
WHERE id > :after AND id <= :after + :span
ORDER BY id
LIMIT :limit;

-- name: job_page_failed
-- The same by the index of these states: here it has to be known when the statement is written.
SELECT id, created_at < :front, finalized_at < :kept_after AND (
    queue IN (SELECT value FROM json_each(:queues))
) <> :is_for_others
FROM river_job
WHERE state IN ('cancelled', 'discarded') AND state = :state AND id > :after AND id <= :after + :span
ORDER BY id
LIMIT :limit;

-- name: client_watch
SELECT id, session, heartbeat_at FROM django_river_client WHERE lost_at IS NULL ORDER BY id;

-- name: client_lose
-- There are no sessions: the heartbeat alone decides.
UPDATE django_river_client
SET lost_at = :now, lost_why = :why
WHERE id = :id
    AND lost_at IS NULL
    AND heartbeat_at < :heard_before
    AND EXISTS (
        SELECT 1 FROM river_leader WHERE leader_id = :leader_id AND elected_at = :elected_at AND expires_at > :now
    )
RETURNING id;

-- name: job_old
SELECT id, kind, queue, priority, attempt, json_extract(attempted_by, '$[#-1]'), attempted_at
FROM river_job
WHERE state = 'running'
    AND attempted_at < :began_before
    AND json_array_length(attempted_by) > 0
    AND json_extract(metadata, '$."django_river:suspicious".attempt') IS NOT attempt
ORDER BY id
LIMIT :limit;

-- name: job_flag
UPDATE river_job
SET metadata = json_patch(
    json_set(
        iif(json_type(metadata) = 'object', metadata, '{}'), '$."django_river:suspicious"',
        json_object('at', replace(:now, ' ', 'T') || 'Z', 'attempt', attempt, 'usual', :usual)
    ),
    iif(:cancel, json_object('cancel_attempted_at', replace(:now, ' ', 'T') || 'Z'), '{}')
)
WHERE id = :id
    AND EXISTS (
        SELECT 1 FROM river_leader WHERE leader_id = :leader_id AND elected_at = :elected_at AND expires_at > :now
    )
    AND state = 'running'
    AND attempt = :attempt
    AND json_extract(attempted_by, '$[#-1]') = :client_id
RETURNING id;

-- name: job_take
UPDATE river_job
SET state = CASE
        WHEN json_type(metadata, '$.cancel_attempted_at') IS NOT NULL THEN 'cancelled'
        WHEN attempt >= max_attempts THEN 'discarded'
        ELSE 'retryable'
    END,
    finalized_at = CASE
        WHEN json_type(metadata, '$.cancel_attempted_at') IS NOT NULL OR attempt >= max_attempts THEN :now
    END,
    scheduled_at = :now,
    errors = json_insert(coalesce(errors, '[]'), '$[#]', json_object(
        'at', replace(attempted_at, ' ', 'T') || 'Z', 'attempt', attempt, 'error', :error, 'trace', ''
    ))
WHERE id = :id
    AND EXISTS (
        SELECT 1 FROM river_leader WHERE leader_id = :leader_id AND elected_at = :elected_at AND expires_at > :now
    )
    AND state = 'running'
    AND attempt = :attempt
    AND json_extract(attempted_by, '$[#-1]') = :client_id
RETURNING id;

-- name: run_time_clean
DELETE FROM django_river_runtime
WHERE EXISTS (
        SELECT 1 FROM river_leader WHERE leader_id = :leader_id AND elected_at = :elected_at AND expires_at > :now
    ) AND id IN (
    SELECT id
    FROM (
        SELECT id, at,
            row_number() OVER (PARTITION BY kind, substr(at, 1, 13) ORDER BY random()) AS in_hour,
            row_number() OVER (PARTITION BY kind ORDER BY id DESC) AS newest
        FROM django_river_runtime
    )
    WHERE in_hour > :kept_per_hour OR at < :kept_after OR (at < :a_day_ago AND newest > :kept_older)
);

-- name: run_time_list
SELECT kind, at, seconds, was_cut_off FROM django_river_runtime ORDER BY id;

-- name: run_time_add_cut_off
INSERT INTO django_river_runtime (kind, at, seconds, was_cut_off) VALUES (:kind, :now, :seconds, true);

-- name: job_rescue
-- See that of Postgres. RETURNING shows the row as it is afterwards.
UPDATE river_job
SET state = CASE
        WHEN json_type(metadata, '$.cancel_attempted_at') IS NOT NULL THEN 'cancelled'
        WHEN attempt >= max_attempts THEN 'discarded'
        WHEN (
            1 + CASE
        WHEN json_type(metadata, '$."river:rescue_count"') IN ('integer', 'real')
        THEN json_extract(metadata, '$."river:rescue_count"')
        ELSE 0
    END >= :poison_after AND kind IN (SELECT value FROM json_each(:known_kinds))
        ) THEN 'discarded'
        ELSE 'retryable'
    END,
    finalized_at = CASE
        WHEN json_type(metadata, '$.cancel_attempted_at') IS NOT NULL OR attempt >= max_attempts OR (
            1 + CASE
        WHEN json_type(metadata, '$."river:rescue_count"') IN ('integer', 'real')
        THEN json_extract(metadata, '$."river:rescue_count"')
        ELSE 0
    END >= :poison_after AND kind IN (SELECT value FROM json_each(:known_kinds))
        ) THEN :now
    END,
    scheduled_at = :now,
    errors = json_insert(coalesce(errors, '[]'), '$[#]', json_object(
        'at', replace(coalesce(attempted_at, created_at), ' ', 'T') || 'Z',
        'attempt', attempt,
        'error', CASE (SELECT lost_why FROM django_river_client WHERE id = json_extract(attempted_by, '$[#-1]') AND lost_why <> '')
            WHEN 'client_lost' THEN 'ClientLost: client lost: '
            WHEN 'client_stale' THEN 'ClientStale: client lost: not heard of for long: '
            ELSE 'rescued: client '
        END || coalesce(json_extract(attempted_by, '$[#-1]'), 'unknown') || CASE
            WHEN (SELECT lost_why FROM django_river_client WHERE id = json_extract(attempted_by, '$[#-1]') AND lost_why <> '') IS NULL THEN ' is gone' ELSE ''
        END || CASE
            WHEN NOT (json_type(metadata, '$.cancel_attempted_at') IS NOT NULL) AND (
            1 + CASE
        WHEN json_type(metadata, '$."river:rescue_count"') IN ('integer', 'real')
        THEN json_extract(metadata, '$."river:rescue_count"')
        ELSE 0
    END >= :poison_after AND kind IN (SELECT value FROM json_each(:known_kinds))
        )
            THEN '; quarantined: clients lost with this job: ' || (1 + CASE
        WHEN json_type(metadata, '$."river:rescue_count"') IN ('integer', 'real')
        THEN json_extract(metadata, '$."river:rescue_count"')
        ELSE 0
    END)
            ELSE ''
        END,
        'trace', ''
    )),
    metadata = json_set(iif(json_type(metadata) = 'object', metadata, '{}'), '$."river:rescue_count"', 1 + CASE
        WHEN json_type(metadata, '$."river:rescue_count"') IN ('integer', 'real')
        THEN json_extract(metadata, '$."river:rescue_count"')
        ELSE 0
    END)
WHERE id IN (
    SELECT job.id
    FROM river_job AS job
    WHERE job.state = 'running'
        AND EXISTS (
            SELECT 1 FROM river_leader WHERE leader_id = :leader_id AND elected_at = :elected_at AND expires_at > :now
        )
        AND (EXISTS (
            SELECT 1
            FROM django_river_client AS client
            WHERE client.id = json_extract(job.attempted_by, '$[#-1]')
                AND coalesce(job.attempted_at, job.created_at) <= max(client.lost_at, :alive_after)
        ) OR (
            coalesce(job.attempted_at, job.created_at) < :lost_before
            AND NOT EXISTS (
                SELECT 1
                FROM django_river_client AS client
                WHERE client.id = json_extract(job.attempted_by, '$[#-1]') AND client.heartbeat_at > :alive_after
            )
        ))
        AND (
            job.attempt < job.max_attempts
            OR json_type(job.metadata, '$.cancel_attempted_at') IS NOT NULL
            OR job.kind IN (SELECT value FROM json_each(:known_kinds))
        )
    ORDER BY job.id
    LIMIT :limit
)
RETURNING id, kind, queue, state, (SELECT lost_why FROM django_river_client WHERE id = json_extract(attempted_by, '$[#-1]') AND lost_why <> ''), state = 'discarded' AND json_extract(metadata, '$."river:rescue_count"') >= :poison_after;

-- name: job_due
SELECT id, queue
FROM river_job
WHERE state IN ('retryable', 'scheduled')
    AND scheduled_at <= :now
    AND (:queues IS NULL OR queue IN (SELECT value FROM json_each(:queues)))
ORDER BY scheduled_at, id
LIMIT :limit;

-- name: job_make_available
-- One job at a time, so that the unique index itself decides who keeps a key.
UPDATE OR IGNORE river_job SET state = 'available' WHERE id = :id RETURNING id;

-- name: job_discard_conflicting
-- The bit of discarded is cleared: see job_schedule_unique of Postgres.
UPDATE river_job
SET state = 'discarded',
    finalized_at = :now,
    unique_states = unique_states & ~8,
    metadata = json_set(
        iif(json_type(metadata) = 'object', metadata, '{}'), '$.unique_key_conflict', 'scheduler_discarded'
    )
WHERE id = :id;

-- name: job_seconds_until_due
SELECT min(scheduled_at) FROM river_job WHERE state IN ('retryable', 'scheduled');

-- name: leader_lasts
SELECT EXISTS (
    SELECT 1 FROM river_leader WHERE leader_id = :leader_id AND elected_at = :elected_at AND expires_at > :now
);

-- name: leader_lease
SELECT expires_at FROM river_leader;

-- name: queue_clean
DELETE FROM river_queue
WHERE name IN (SELECT value FROM json_each(:names))
    AND updated_at < :touched_before
    AND paused_at IS NULL
    AND metadata = '{}'
    AND NOT EXISTS (SELECT 1 FROM river_job WHERE state = 'available' AND queue = river_queue.name)
    AND NOT EXISTS (SELECT 1 FROM django_river_queuerow AS said WHERE said.name = river_queue.name)
    AND EXISTS (
        SELECT 1 FROM river_leader WHERE leader_id = :leader_id AND elected_at = :elected_at AND expires_at > :now
    )
RETURNING name;

-- name: queue_idle
SELECT name
FROM river_queue
WHERE updated_at < :touched_before
    AND paused_at IS NULL
    AND metadata = '{}'
    AND name NOT IN (SELECT value FROM json_each(:keep))
    AND NOT EXISTS (SELECT 1 FROM river_job WHERE state = 'available' AND queue = river_queue.name)
    AND NOT EXISTS (SELECT 1 FROM django_river_queuerow AS said WHERE said.name = river_queue.name)
ORDER BY updated_at
LIMIT :limit;

-- name: queue_names
SELECT name FROM river_queue ORDER BY name;

-- name: queue_search
SELECT json_group_array(DISTINCT queue) FILTER (WHERE queue IN (SELECT value FROM json_each(:names))), max(id)
FROM (SELECT id, queue FROM river_job WHERE id > :after ORDER BY id LIMIT :limit);
