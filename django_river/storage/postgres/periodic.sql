-- Statements on our periodic jobs, and on the registries that clients declare.

-- name: now
SELECT clock_timestamp();

-- name: client_list_live
SELECT id, host, pid, started_at, extract(epoch FROM now() - heartbeat_at)::float8, release, registry_hash
FROM django_river_client
WHERE heartbeat_at > now() - %(client_timeout)s::interval AND registry_hash <> ''
ORDER BY started_at, id;

-- name: registry_lock
-- Whoever settles comes after whoever has begun to; who only reads waits for nobody.
LOCK TABLE django_river_periodicregistry IN SHARE ROW EXCLUSIVE MODE;

-- name: registry_in_force
SELECT hash, release, since FROM django_river_periodicregistry WHERE is_in_force;

-- name: registry_entries
SELECT entries FROM django_river_periodicregistry WHERE hash = %(hash)s;

-- name: registry_publish
INSERT INTO django_river_periodicregistry (hash, release, entries, since)
VALUES (%(hash)s, %(release)s, %(entries)s, clock_timestamp())
ON CONFLICT (hash) DO NOTHING;

-- name: registry_forget
DELETE FROM django_river_periodicregistry AS registry
WHERE is_in_force IS NULL
    AND hash <> %(hash)s
    AND NOT EXISTS (SELECT FROM django_river_client WHERE registry_hash = registry.hash);

-- name: registry_depose
UPDATE django_river_periodicregistry SET is_in_force = NULL WHERE is_in_force;

-- name: registry_enforce
UPDATE django_river_periodicregistry
SET is_in_force = true, release = %(release)s, since = clock_timestamp()
WHERE hash = %(hash)s;

-- name: periodic_list_states
SELECT name, entry, next_run_at FROM django_river_periodicjob ORDER BY name;

-- name: periodic_delete_others
DELETE FROM django_river_periodicjob WHERE name <> ALL(%(names)s::text[]);

-- name: periodic_put_many
INSERT INTO django_river_periodicjob AS job (
    name, kind, schedule, entry, fingerprint, next_run_at, extra_run_at, expect_success_within,
    last_outcome, error, created_at
)
SELECT t.*, '', '', clock_timestamp()
FROM unnest(
    %(names)s::text[], %(kinds)s::text[], %(schedules)s::text[], %(entries)s::text[], %(fingerprints)s::text[],
    %(next_run_at)s::timestamptz[], %(extra_run_at)s::timestamptz[], %(expect_success_within)s::float8[]
) AS t
ON CONFLICT (name) DO UPDATE
SET kind = EXCLUDED.kind,
    schedule = EXCLUDED.schedule,
    entry = EXCLUDED.entry,
    fingerprint = EXCLUDED.fingerprint,
    next_run_at = EXCLUDED.next_run_at,
    extra_run_at = coalesce(EXCLUDED.extra_run_at, job.extra_run_at),
    expect_success_within = EXCLUDED.expect_success_within,
    error = CASE WHEN job.fingerprint = EXCLUDED.fingerprint THEN job.error ELSE '' END;
