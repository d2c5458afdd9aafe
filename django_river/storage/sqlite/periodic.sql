-- Statements on our periodic jobs, and on the registries that clients declare. What holds everywhere on SQLite is said in
-- river.sql. There is no statement to lock: a transaction has the write lock from its beginning.

-- name: client_list_live
SELECT id, host, pid, started_at, heartbeat_at, release, registry_hash
FROM django_river_client
WHERE heartbeat_at > :alive_after AND lost_at IS NULL AND registry_hash <> ''
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
    last_outcome, error, expected_since
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
    expected_since = CASE
        WHEN expect_success_within IS NULL OR next_run_at IS NULL THEN excluded.expected_since ELSE expected_since
    END,
    overdue_since = CASE
        WHEN expect_success_within IS excluded.expect_success_within AND excluded.next_run_at IS NOT NULL
            THEN overdue_since
    END,
    error = CASE WHEN fingerprint = excluded.fingerprint THEN error ELSE '' END;

-- name: periodic_list_due
SELECT name, fingerprint, next_run_at, extra_run_at, last_run_at, error <> ''
FROM django_river_periodicjob
WHERE paused_at IS NULL
    AND (next_run_at <= :until OR extra_run_at IS NOT NULL OR last_run_at > :soon);

-- name: periodic_take
-- One statement an entry; the transaction has the write lock, so nobody comes between this and what follows. Moments are
-- compared outside: whoever else has written one may have written it in another form.
SELECT job.next_run_at, job.extra_run_at, (NOT :may_overlap) AND EXISTS (
    SELECT 1
    FROM river_job
    WHERE river_job.id = job.last_job_id AND river_job.state NOT IN ('cancelled', 'completed', 'discarded')
)
FROM django_river_periodicjob AS job
WHERE job.name = :name AND job.paused_at IS NULL AND job.fingerprint = :fingerprint;

-- name: periodic_advance
UPDATE django_river_periodicjob
SET next_run_at = :next_run_at,
    extra_run_at = NULL,
    last_run_at = coalesce(:last_run_at, last_run_at),
    last_job_id = coalesce(:last_job_id, last_job_id),
    error = ''
WHERE name = :name;

-- name: periodic_fail
UPDATE django_river_periodicjob SET error = :error WHERE name = :name;

-- name: periodic_note_run
UPDATE django_river_periodicjob SET last_run_at = :now, last_job_id = :job_id WHERE name = :name;

-- name: periodic_get
SELECT entry, next_run_at, paused_at IS NOT NULL FROM django_river_periodicjob WHERE name = :name;

-- name: periodic_pause
UPDATE django_river_periodicjob
SET paused_at = :now, overdue_since = NULL
WHERE name = :name AND paused_at IS NULL
RETURNING name;

-- name: periodic_resume
UPDATE django_river_periodicjob
SET paused_at = NULL, next_run_at = :next_run_at, extra_run_at = NULL, expected_since = :now
WHERE name = :name;

-- name: periodic_list_watched
SELECT name, last_job_id FROM django_river_periodicjob WHERE last_job_id IS NOT NULL;

-- name: periodic_list_outcomes
SELECT id, state, finalized_at FROM river_job WHERE id IN (SELECT value FROM json_each(:job_ids));

-- name: periodic_note_outcome
-- Nothing goes back: see periodic_note_outcomes of Postgres.
UPDATE django_river_periodicjob
SET last_outcome = CASE WHEN last_finished_at > :finished_at THEN last_outcome ELSE :outcome END,
    last_finished_at = max(coalesce(last_finished_at, :finished_at), :finished_at),
    last_success_at = max(coalesce(last_success_at, :success_at), coalesce(:success_at, last_success_at))
WHERE name = :name;

-- name: periodic_list_expected
-- What is overdue is reckoned outside: SQLite's own arithmetic of time loses what is below a millisecond.
SELECT name, kind, max(expected_since, coalesce(last_success_at, expected_since)), last_success_at,
    expect_success_within, overdue_since IS NOT NULL
FROM django_river_periodicjob
WHERE paused_at IS NULL AND next_run_at IS NOT NULL AND expect_success_within IS NOT NULL;

-- name: periodic_mark_overdue
UPDATE django_river_periodicjob SET overdue_since = :overdue_since WHERE name = :name;
