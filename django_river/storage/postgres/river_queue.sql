-- Statements on river_queue, our clients, and notifications.

-- name: queue_touch
INSERT INTO river_queue (name)
SELECT DISTINCT name FROM unnest(%(names)s::text[]) AS name ORDER BY name
ON CONFLICT (name) DO UPDATE SET updated_at = now()
RETURNING name, paused_at IS NOT NULL;

-- name: queue_list
SELECT name, paused_at IS NOT NULL FROM river_queue WHERE name = ANY(%(names)s::text[]);

-- name: queue_pause
-- A queue that no client has worked yet can be paused too: its row is made here.
WITH wanted AS (
    INSERT INTO river_queue (name, paused_at)
    SELECT %(name)s, now() WHERE %(name)s <> '*'
    ON CONFLICT (name) DO UPDATE SET paused_at = now(), updated_at = now() WHERE river_queue.paused_at IS NULL
    RETURNING name
), others AS (
    UPDATE river_queue
    SET paused_at = now(), updated_at = now()
    WHERE %(name)s = '*' AND paused_at IS NULL
    RETURNING name
)
SELECT name FROM wanted UNION ALL SELECT name FROM others ORDER BY name;

-- name: queue_resume
UPDATE river_queue
SET paused_at = NULL, updated_at = now()
WHERE (%(name)s = '*' OR name = %(name)s) AND paused_at IS NOT NULL
RETURNING name;

-- name: client_beat
-- Answers why the client had been taken for lost; it is not any more. Whoever is just taking it for lost is waited for:
-- it must not miss that.
WITH before AS MATERIALIZED (
    SELECT lost_why FROM django_river_client WHERE id = %(id)s FOR NO KEY UPDATE
)
INSERT INTO django_river_client (
    id, host, pid, version, queues, slots, can_lead, objection, preference, labels, session, troubles,
    release, registry_hash, started_at, heartbeat_at
)
SELECT %(id)s, %(host)s, %(pid)s, %(version)s, %(queues)s::jsonb, %(slots)s, %(can_lead)s, %(objection)s,
    %(preference)s, %(labels)s::jsonb, %(session)s, %(troubles)s::jsonb, %(release)s, %(registry_hash)s, now(), now()
-- Read here, so that it is read before the row is changed.
FROM (SELECT count(*) FROM before) AS known
ON CONFLICT (id) DO UPDATE
SET heartbeat_at = now(), queues = EXCLUDED.queues, slots = EXCLUDED.slots, can_lead = EXCLUDED.can_lead,
    objection = EXCLUDED.objection, preference = EXCLUDED.preference, labels = EXCLUDED.labels,
    session = EXCLUDED.session, troubles = EXCLUDED.troubles, release = EXCLUDED.release,
    registry_hash = EXCLUDED.registry_hash, lost_at = NULL, lost_why = ''
RETURNING (SELECT lost_why FROM before);

-- name: client_delete
DELETE FROM django_river_client WHERE id = %(id)s;

-- name: notify_many
SELECT pg_notify(current_schema() || '.' || %(topic)s, payload) FROM unnest(%(payloads)s::text[]) AS payload;
