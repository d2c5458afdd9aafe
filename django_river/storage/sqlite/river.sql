-- Statements of the SQLite driver. They name the same operations as Postgres's; where one differs, it says why.
--
-- Everywhere: :now is passed in, because SQLite's clock is this process's clock anyway, and its own functions only
-- know milliseconds. Times are UTC text of fixed width, so that text sorts as time. There is one writer at a time,
-- so nothing is locked row by row. Metadata that is no object counts as empty. RETURNING never asks whether something
-- IS NULL: SQLite 3.40 then answers that nothing is.

-- name: job_ready_queues
-- SQLite only: a read to decide whether a claim is worth the write lock, which an idle worker must not take.
SELECT demand.value
FROM json_each(:queues) AS demand
WHERE EXISTS (
    SELECT 1 FROM river_job WHERE state = 'available' AND queue = demand.value AND scheduled_at <= :now
);

-- name: job_fetch
-- One statement a queue (SQLite has no LATERAL), all in one transaction. Always from the start of the queue: a change
-- leaves nothing dead behind.
UPDATE river_job
-- include: claimed_by_us
WHERE id IN (
    SELECT id
    FROM river_job
    WHERE state = 'available' AND queue = :queue AND scheduled_at <= :now
    ORDER BY priority, scheduled_at, id
    LIMIT :limit
)
RETURNING id, kind, queue, priority, attempt, max_attempts, json_array_length(coalesce(errors, '[]')), args, metadata,
    scheduled_at;

-- name: job_insert
-- One statement a job: a local call is cheap, and arrays cannot be passed. See that of Postgres on the queue's row.
INSERT INTO river_job (
    kind, args, queue, priority, max_attempts, metadata, tags, scheduled_at, state, created_at, attempt,
    unique_key, unique_states
)
SELECT :kind, :args, :queue, :priority,
    coalesce(iif(:inherits, json_extract(said.settings, '$.max_attempts'), NULL), :max_attempts),
    :metadata, :tags, :scheduled_at,
    CASE WHEN :pending THEN 'pending' WHEN :scheduled_at > :now THEN 'scheduled' ELSE 'available' END,
    :now, 0, :unique_key, :unique_states
FROM (SELECT 1)
LEFT JOIN django_river_queuerow AS said ON said.name = :queue
WHERE coalesce(said.removal, '') = ''
ON CONFLICT DO NOTHING
RETURNING id, state, attempt, scheduled_at, created_at, max_attempts;

-- name: job_by_unique_key
-- The conditions of the unique index to the letter: SQLite uses a partial index only if it finds them all.
SELECT id, state, attempt, scheduled_at, created_at
FROM river_job
WHERE unique_key = :unique_key
    AND unique_key IS NOT NULL
    AND unique_states IS NOT NULL
    AND (unique_states & CASE
        WHEN (state = 'available') THEN 1
        WHEN (state = 'cancelled') THEN 2
        WHEN (state = 'completed') THEN 4
        WHEN (state = 'discarded') THEN 8
        WHEN (state = 'pending') THEN 16
        WHEN (state = 'retryable') THEN 32
        WHEN (state = 'running') THEN 64
        WHEN (state = 'scheduled') THEN 128
        ELSE NULL
    END) > 0;

-- name: job_complete
UPDATE river_job
SET state = 'completed', finalized_at = :now
WHERE id IN (SELECT value FROM json_each(:ids))
    AND state = 'running'
    AND attempt = :attempt
    AND json_extract(attempted_by, '$[#-1]') = :client_id
RETURNING id, state;

-- name: job_set_state
-- One statement a job; see job_set_state_many of Postgres.
UPDATE river_job
SET state = CASE
        WHEN :state IN ('available', 'retryable', 'scheduled')
            AND json_type(metadata, '$.cancel_attempted_at') IS NOT NULL
        THEN 'cancelled'
        ELSE :state
    END,
    attempt = CASE
        WHEN :give_attempt_back AND json_type(metadata, '$.cancel_attempted_at') IS NULL THEN attempt - 1
        ELSE attempt
    END,
    finalized_at = CASE
        WHEN :state IN ('cancelled', 'completed', 'discarded')
            OR json_type(metadata, '$.cancel_attempted_at') IS NOT NULL
        THEN :now
    END,
    scheduled_at = CASE
        WHEN :due_at IS NULL OR json_type(metadata, '$.cancel_attempted_at') IS NOT NULL THEN scheduled_at
        ELSE :due_at
    END,
    errors = CASE
        WHEN :error IS NULL THEN errors
        ELSE json_insert(
            coalesce(errors, '[]'), '$[#]', json_set(json(:error), '$.at', replace(attempted_at, ' ', 'T') || 'Z')
        )
    END
WHERE id = :id
    AND state = 'running'
    AND attempt = :attempt
    AND json_extract(attempted_by, '$[#-1]') = :client_id
RETURNING id, state;

-- name: job_metadata
SELECT metadata FROM river_job WHERE id = :id;

-- name: job_set_metadata
-- SQLite only: json_patch would merge deeply and drop nulls, and json_set takes no key with a quotation mark.
UPDATE river_job SET metadata = :metadata WHERE id = :id;

-- name: job_queues
-- From queue to queue along the fetch index: as long as the queues that have jobs are many, whatever the jobs are.
WITH RECURSIVE walk (queue) AS (
    SELECT min(queue) FROM river_job WHERE state = 'available'
    UNION ALL
    SELECT (SELECT min(queue) FROM river_job WHERE state = 'available' AND queue > walk.queue)
    FROM walk
    WHERE walk.queue IS NOT NULL
)
SELECT queue FROM walk WHERE queue IS NOT NULL;

-- name: job_release_unknown
UPDATE river_job
SET state = CASE
        WHEN json_type(metadata, '$.cancel_attempted_at') IS NOT NULL THEN 'cancelled' ELSE 'available'
    END,
    finalized_at = CASE WHEN json_type(metadata, '$.cancel_attempted_at') IS NOT NULL THEN :now END,
    attempt = attempt - 1
WHERE state = 'running'
    AND json_extract(attempted_by, '$[#-1]') = :client_id
    AND id NOT IN (SELECT value FROM json_each(:known_ids))
RETURNING id;

-- name: job_has_due
-- Each question has an index of its own; asked as one, they would read the table.
WITH worked AS MATERIALIZED (
    SELECT value AS name
    FROM json_each(:queues)
    WHERE NOT EXISTS (SELECT 1 FROM river_queue WHERE river_queue.name = value AND paused_at IS NOT NULL)
)
SELECT EXISTS (
    SELECT 1
    FROM worked
    JOIN river_job ON state = 'available' AND queue = worked.name AND scheduled_at <= :now
) OR (:scheduled AND EXISTS (
    SELECT 1
    FROM river_job
    WHERE state IN ('retryable', 'scheduled')
        AND scheduled_at <= :now
        AND queue IN (SELECT name FROM worked)
));

-- name: job_states
SELECT id, queue, state FROM river_job WHERE id IN (SELECT value FROM json_each(:ids)) ORDER BY id;

-- name: job_cancel
-- The bit of cancelled is cleared if the job does not hold its key: see job_cancel of Postgres.
UPDATE river_job
SET state = CASE WHEN state = 'running' THEN state ELSE 'cancelled' END,
    finalized_at = CASE WHEN state = 'running' THEN NULL ELSE :now END,
    unique_states = CASE
        WHEN unique_states & CASE state
            WHEN 'available' THEN 1 WHEN 'pending' THEN 16 WHEN 'retryable' THEN 32 WHEN 'running' THEN 64 ELSE 128
        END > 0
        THEN unique_states
        ELSE unique_states & ~2
    END,
    metadata = json_set(
        iif(json_type(metadata) = 'object', metadata, '{}'), '$.cancel_attempted_at', replace(:now, ' ', 'T') || 'Z'
    )
WHERE id IN (SELECT value FROM json_each(:ids)) AND state NOT IN ('cancelled', 'completed', 'discarded')
RETURNING id, state;

-- name: job_retry
-- One job at a time, so that the unique index itself decides who keeps a key.
UPDATE OR IGNORE river_job
SET state = 'available',
    finalized_at = NULL,
    scheduled_at = CASE WHEN state = 'available' THEN min(scheduled_at, :now) ELSE :now END,
    max_attempts = CASE WHEN attempt >= max_attempts THEN min(attempt + 1, 32767) ELSE max_attempts END,
    metadata = iif(
        json_type(metadata) = 'object', json_remove(metadata, '$.cancel_attempted_at', '$.unique_key_conflict'), '{}'
    )
WHERE id = :id AND state <> 'running'
RETURNING id, state;

-- name: job_delete
DELETE FROM river_job
WHERE id IN (SELECT value FROM json_each(:ids)) AND state <> 'running'
RETURNING id, state;

-- name: queue_touch
INSERT INTO river_queue (name, created_at, metadata, updated_at)
SELECT DISTINCT value, :now, '{}', :now FROM json_each(:names) WHERE true
ON CONFLICT (name) DO UPDATE SET updated_at = :now
RETURNING name, paused_at;

-- name: queue_list
SELECT name, paused_at IS NOT NULL FROM river_queue WHERE name IN (SELECT value FROM json_each(:names));

-- name: queue_pause
UPDATE river_queue
SET paused_at = :now, updated_at = :now
WHERE (:name = '*' OR name = :name) AND paused_at IS NULL
RETURNING name;

-- name: queue_insert
-- A queue that no client has worked yet can be paused too.
INSERT INTO river_queue (name, created_at, metadata, updated_at)
VALUES (:name, :now, '{}', :now)
ON CONFLICT (name) DO NOTHING;

-- name: queue_resume
UPDATE river_queue
SET paused_at = NULL, updated_at = :now
WHERE (:name = '*' OR name = :name) AND paused_at IS NOT NULL
RETURNING name;

-- name: client_beat
INSERT INTO django_river_client (
    id, host, pid, version, queues, slots, can_lead, objection, preference, labels, session, troubles,
    release, registry_hash, started_at, heartbeat_at
)
VALUES (
    :id, :host, :pid, :version, :queues, :slots, :can_lead, :objection, :preference, :labels, :session, :troubles,
    :release, :registry_hash, :now, :now
)
ON CONFLICT (id) DO UPDATE
SET heartbeat_at = :now, queues = excluded.queues, slots = excluded.slots, can_lead = excluded.can_lead,
    objection = excluded.objection, preference = excluded.preference, labels = excluded.labels,
    session = excluded.session, troubles = excluded.troubles, release = excluded.release,
    registry_hash = excluded.registry_hash, lost_at = NULL, lost_why = '';

-- name: client_lost_why
-- SQLite only: RETURNING has no room for what was there before.
SELECT lost_why FROM django_river_client WHERE id = :id AND lost_at IS NOT NULL;

-- name: client_delete
DELETE FROM django_river_client WHERE id = :id;
