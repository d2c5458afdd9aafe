-- Statements on the lease and its terms: see those of Postgres. There are no sessions here: the lease alone decides.

-- name: leader_delete_expired
DELETE FROM river_leader WHERE expires_at < :now RETURNING leader_id, elected_at, expires_at;

-- name: leader_elect
INSERT INTO river_leader (name, leader_id, elected_at, expires_at)
VALUES ('default', :leader_id, :now, :expires_at)
ON CONFLICT (name) DO NOTHING
RETURNING leader_id, elected_at, expires_at;

-- name: leader_hold
-- Asked in a transaction that holds the one write lock.
SELECT 1 FROM river_leader WHERE leader_id = :leader_id AND elected_at = :elected_at AND expires_at >= :now;

-- name: leader_renew
UPDATE river_leader
SET expires_at = :expires_at
WHERE leader_id = :leader_id AND elected_at = :elected_at AND expires_at >= :now
RETURNING leader_id, elected_at, expires_at, (
    SELECT count(*)
    FROM django_river_leaderterm AS term
    WHERE term.client_id = :leader_id AND term.elected_at = :elected_at AND term.resign_requested_at > ''
);

-- name: leader_request_resign
UPDATE django_river_leaderterm
SET resign_requested_at = :now
WHERE (client_id, elected_at) IN (SELECT leader_id, elected_at FROM river_leader);

-- name: leader_resign
DELETE FROM river_leader WHERE leader_id = :leader_id AND elected_at = :elected_at RETURNING leader_id;

-- name: leader_rival_exists
SELECT EXISTS (
    SELECT 1
    FROM django_river_client
    WHERE id <> :client_id AND can_lead AND preference > :preference AND heartbeat_at > :alive_after
);

-- name: leader_watch
SELECT leader_id, elected_at, expires_at FROM river_leader;

-- name: job_left_by_leaders
SELECT id, kind, attempt, max_attempts, json_extract(attempted_by, '$[#-1]'),
    CASE
        WHEN json_type(metadata, '$."river:rescue_count"') IN ('integer', 'real')
        THEN CAST(min(max(json_extract(metadata, '$."river:rescue_count"'), 0), 1000000) AS integer)
        ELSE 0
    END
FROM river_job
WHERE state = 'running'
    AND queue IN (SELECT value FROM json_each(:queues))
    AND json_extract(attempted_by, '$[#-1]') IN (
        SELECT client_id FROM django_river_leaderterm WHERE ended_at IS NOT NULL
    )
ORDER BY id;

-- name: term_begin
INSERT INTO django_river_leaderterm (client_id, host, pid, labels, elected_at, why)
SELECT :client_id, coalesce(client.host, ''), client.pid, coalesce(client.labels, '{}'), :elected_at, ''
FROM (SELECT 1) AS always
LEFT JOIN django_river_client AS client ON client.id = :client_id;

-- name: term_end
UPDATE django_river_leaderterm
SET ended_at = min(:now, :ended_at), why = :why
WHERE client_id = :client_id AND elected_at = :elected_at AND ended_at IS NULL;

-- name: term_end_others
UPDATE django_river_leaderterm SET ended_at = :now, why = :why WHERE ended_at IS NULL;

-- name: term_prune
DELETE FROM django_river_leaderterm
WHERE ended_at < :kept_after
    OR id IN (SELECT id FROM django_river_leaderterm ORDER BY id DESC LIMIT -1 OFFSET :kept);
