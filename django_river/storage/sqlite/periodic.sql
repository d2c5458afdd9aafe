-- Statements on our periodic jobs, and on the registries that clients declare. What holds everywhere on SQLite is said in
-- river.sql. There is no statement to lock: a transaction has the write lock from its beginning.

-- name: client_list_live
SELECT id, host, pid, started_at, heartbeat_at, release, registry_hash
FROM django_river_client
WHERE heartbeat_at > :alive_after AND registry_hash <> ''
ORDER BY started_at, id;

-- name: registry_in_force
SELECT hash, release, since FROM django_river_periodicregistry WHERE is_in_force;

-- name: registry_entries
SELECT entries FROM django_river_periodicregistry WHERE hash = :hash;

-- name: registry_publish
INSERT INTO django_river_periodicregistry (hash, release, entries, since)
VALUES (:hash, :release, :entries, :now)
ON CONFLICT (hash) DO NOTHING;

-- name: registry_forget
DELETE FROM django_river_periodicregistry
WHERE is_in_force IS NULL
    AND hash <> :hash
    AND hash NOT IN (SELECT registry_hash FROM django_river_client);

-- name: registry_depose
UPDATE django_river_periodicregistry SET is_in_force = NULL WHERE is_in_force;

-- name: registry_enforce
UPDATE django_river_periodicregistry SET is_in_force = true, release = :release, since = :now WHERE hash = :hash;

-- name: periodic_list_states
SELECT name, entry, next_run_at FROM django_river_periodicjob ORDER BY name;

-- name: periodic_delete_others
DELETE FROM django_river_periodicjob WHERE name NOT IN (SELECT value FROM json_each(:names));

-- name: periodic_put
-- One statement an entry: a local call is cheap, and arrays cannot be passed.
INSERT INTO django_river_periodicjob (
    name, kind, schedule, entry, fingerprint, next_run_at, extra_run_at, expect_success_within,
    last_outcome, error, created_at
)
VALUES (
    :name, :kind, :schedule, :entry, :fingerprint, :next_run_at, :extra_run_at, :expect_success_within, '', '', :now
)
ON CONFLICT (name) DO UPDATE
SET kind = excluded.kind,
    schedule = excluded.schedule,
    entry = excluded.entry,
    fingerprint = excluded.fingerprint,
    next_run_at = excluded.next_run_at,
    extra_run_at = coalesce(excluded.extra_run_at, extra_run_at),
    expect_success_within = excluded.expect_success_within,
    error = CASE WHEN fingerprint = excluded.fingerprint THEN error ELSE '' END;
