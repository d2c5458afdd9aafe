-- Statements on river_leader, which is River's, and on our history of terms.
--
-- A client's session is an advisory lock that its listening connection holds. Whether it is gone is asked by trying to
-- share it, for as long as the transaction lasts: that leaves nothing behind, through poolers neither. A client without
-- a session, or without a row, is never taken for gone.

-- name: leader_delete_expired
DELETE FROM river_leader WHERE expires_at < now() RETURNING leader_id, elected_at, expires_at;

-- name: leader_delete_vanished
-- The lock is shared until the election is committed: a leader that comes back meanwhile waits for it.
DELETE FROM river_leader AS leader
USING django_river_client AS client
WHERE leader.leader_id = %(leader_id)s
    AND leader.elected_at = %(elected_at)s
    AND client.id = leader.leader_id
    AND pg_try_advisory_xact_lock_shared(client.session)
RETURNING leader.leader_id;

-- name: leader_elect
INSERT INTO river_leader (leader_id, elected_at, expires_at)
VALUES (%(leader_id)s, now(), now() + %(ttl)s::interval)
ON CONFLICT (name) DO NOTHING
RETURNING leader_id, elected_at, expires_at;

-- name: leader_hold
-- The lock keeps the row from being deleted until the transaction ends, and does not keep the leader from renewing it.
SELECT 1 FROM river_leader
WHERE leader_id = %(leader_id)s AND elected_at = %(elected_at)s AND expires_at >= now()
FOR KEY SHARE;

-- name: leader_renew
WITH renewed AS (
    UPDATE river_leader
    SET expires_at = now() + %(ttl)s::interval
    WHERE leader_id = %(leader_id)s AND elected_at = %(elected_at)s AND expires_at >= now()
    RETURNING leader_id, elected_at, expires_at
)
SELECT renewed.leader_id, renewed.elected_at, renewed.expires_at, term.resign_requested_at IS NOT NULL
FROM renewed
LEFT JOIN django_river_leaderterm AS term
    ON term.client_id = renewed.leader_id AND term.elected_at = renewed.elected_at;

-- name: leader_request_resign
-- A leader of another language has no term here, and hears the message only.
WITH asked AS (
    UPDATE django_river_leaderterm AS term
    SET resign_requested_at = now()
    FROM river_leader AS leader
    WHERE term.client_id = leader.leader_id AND term.elected_at = leader.elected_at
)
SELECT leader_id FROM river_leader WHERE expires_at >= now();

-- name: leader_resign
DELETE FROM river_leader WHERE leader_id = %(leader_id)s AND elected_at = %(elected_at)s RETURNING leader_id;

-- name: leader_rival_exists
SELECT EXISTS (
    SELECT FROM django_river_client
    WHERE id <> %(client_id)s
        AND can_lead
        AND preference > %(preference)s
        AND heartbeat_at > now() - %(alive_for)s::interval
        AND NOT coalesce(pg_try_advisory_xact_lock_shared(session), false)
);

-- name: leader_watch
SELECT leader.leader_id, leader.elected_at, leader.expires_at,
    extract(epoch FROM leader.expires_at - now())::float8,
    coalesce(pg_try_advisory_xact_lock_shared(client.session), false),
    CASE WHEN %(with_queues)s THEN ARRAY(
        -- include: queues_with_jobs
    ) END
FROM river_leader AS leader
LEFT JOIN django_river_client AS client ON client.id = leader.leader_id;

-- name: job_left_by_leaders
-- Foreign clients count rescues in the same key, and may write anything there.
SELECT id, kind, attempt, max_attempts, attempted_by[cardinality(attempted_by)],
    CASE
        WHEN jsonb_typeof(metadata -> 'river:rescue_count') = 'number'
        THEN least(greatest((metadata ->> 'river:rescue_count')::numeric, 0), 1000000)::bigint
        ELSE 0
    END
FROM river_job
WHERE state = 'running'
    AND queue = ANY(%(queues)s::text[])
    AND attempted_by[cardinality(attempted_by)] IN (
        SELECT client_id FROM django_river_leaderterm WHERE ended_at IS NOT NULL
    )
ORDER BY id;

-- name: term_begin
INSERT INTO django_river_leaderterm (client_id, host, pid, labels, elected_at, why)
SELECT %(client_id)s, coalesce(client.host, ''), client.pid, coalesce(client.labels, '{}'), %(elected_at)s, ''
FROM (VALUES (1)) AS always
LEFT JOIN django_river_client AS client ON client.id = %(client_id)s;

-- name: term_end
UPDATE django_river_leaderterm
SET ended_at = least(now(), %(ended_at)s::timestamptz), why = %(why)s
WHERE client_id = %(client_id)s AND elected_at = %(elected_at)s AND ended_at IS NULL;

-- name: term_end_others
UPDATE django_river_leaderterm SET ended_at = now(), why = %(why)s WHERE ended_at IS NULL;

-- name: term_prune
DELETE FROM django_river_leaderterm
WHERE ended_at < now() - %(kept_for)s::interval
    OR id IN (SELECT id FROM django_river_leaderterm ORDER BY id DESC OFFSET %(kept)s);
