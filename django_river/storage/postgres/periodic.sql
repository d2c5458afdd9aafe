-- Statements on our periodic jobs, and on the registries that clients declare.

-- name: now
SELECT clock_timestamp();

-- name: client_list_live
SELECT id, host, pid, started_at, extract(epoch FROM now() - heartbeat_at)::float8, release, registry_hash
FROM django_river_client
WHERE heartbeat_at > now() - %(client_timeout)s::interval AND lost_at IS NULL AND registry_hash <> ''
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

-- name: registry_notify
SELECT pg_notify(current_schema() || '.django_river_registry', json_build_object('hash', %(hash)s::text)::text);

-- name: registry_enforce
UPDATE django_river_periodicregistry
SET is_in_force = true, release = %(release)s, since = clock_timestamp()
WHERE hash = %(hash)s;

-- name: periodic_list_states
-- Held until the rows are replaced: a run that is enqueued in between would be planned, and enqueued, once more.
-- In the order in which all others take them.
SELECT name, entry, next_run_at FROM django_river_periodicjob ORDER BY name FOR UPDATE;

-- name: periodic_delete_others
DELETE FROM django_river_periodicjob WHERE name <> ALL(%(names)s::text[]);

-- name: periodic_put_many
INSERT INTO django_river_periodicjob AS job (
    name, kind, schedule, entry, fingerprint, next_run_at, extra_run_at, expect_success_within,
    last_outcome, error, expected_since
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
    expected_since = CASE
        WHEN job.expect_success_within IS NULL OR job.next_run_at IS NULL THEN EXCLUDED.expected_since
        ELSE job.expected_since
    END,
    overdue_since = CASE
        WHEN job.expect_success_within IS NOT DISTINCT FROM EXCLUDED.expect_success_within
            AND EXCLUDED.next_run_at IS NOT NULL THEN job.overdue_since
    END,
    error = CASE WHEN job.fingerprint = EXCLUDED.fingerprint THEN job.error ELSE '' END;

-- name: periodic_list_due
SELECT clock.now, job.name, job.fingerprint, job.next_run_at, job.extra_run_at, job.last_run_at, job.error <> ''
FROM (SELECT clock_timestamp() AS now) AS clock
LEFT JOIN django_river_periodicjob AS job
    ON job.paused_at IS NULL
    AND (
        job.next_run_at <= clock.now + %(within)s::interval
        OR job.extra_run_at IS NOT NULL
        OR job.last_run_at > clock.now + interval '1 s'
    );

-- name: periodic_take
-- Whoever comes second waits for the first, looks again, and finds other values: no run is enqueued twice.
SELECT job.name, NOT input.may_overlap AND EXISTS (
    SELECT
    FROM river_job
    WHERE river_job.id = job.last_job_id AND river_job.state NOT IN ('cancelled', 'completed', 'discarded')
)
FROM unnest(
    %(names)s::text[], %(fingerprints)s::text[], %(next_run_at)s::timestamptz[], %(extra_run_at)s::timestamptz[],
    %(may_overlap)s::boolean[]
) AS input (name, fingerprint, next_run_at, extra_run_at, may_overlap)
JOIN django_river_periodicjob AS job ON job.name = input.name
WHERE job.paused_at IS NULL
    AND job.fingerprint = input.fingerprint
    AND job.next_run_at IS NOT DISTINCT FROM input.next_run_at
    AND job.extra_run_at IS NOT DISTINCT FROM input.extra_run_at
ORDER BY job.name
FOR UPDATE OF job;

-- name: periodic_advance_many
UPDATE django_river_periodicjob AS job
SET next_run_at = input.next_run_at,
    extra_run_at = NULL,
    last_run_at = coalesce(input.last_run_at, job.last_run_at),
    last_job_id = coalesce(input.last_job_id, job.last_job_id),
    error = ''
FROM unnest(
    %(names)s::text[], %(next_run_at)s::timestamptz[], %(last_run_at)s::timestamptz[], %(last_job_ids)s::bigint[]
) AS input (name, next_run_at, last_run_at, last_job_id)
WHERE job.name = input.name;

-- name: periodic_move_many
-- The two above in one. The rows are held in the order in which all others take them.
UPDATE django_river_periodicjob AS job
SET next_run_at = held.next_run_at,
    extra_run_at = NULL,
    last_run_at = coalesce(held.last_run_at, job.last_run_at),
    last_job_id = coalesce(held.last_job_id, job.last_job_id),
    error = ''
FROM (
    SELECT input.name, input.next_run_at, input.last_run_at, input.last_job_id
    FROM unnest(
        %(names)s::text[], %(fingerprints)s::text[], %(seen_next_run_at)s::timestamptz[],
        %(seen_extra_run_at)s::timestamptz[], %(may_overlap)s::boolean[],
        %(next_run_at)s::timestamptz[], %(last_run_at)s::timestamptz[], %(last_job_ids)s::bigint[]
    ) AS input (
        name, fingerprint, seen_next_run_at, seen_extra_run_at, may_overlap, next_run_at, last_run_at, last_job_id
    )
    JOIN django_river_periodicjob AS job ON job.name = input.name
    WHERE job.paused_at IS NULL
        AND job.fingerprint = input.fingerprint
        AND job.next_run_at IS NOT DISTINCT FROM input.seen_next_run_at
        AND job.extra_run_at IS NOT DISTINCT FROM input.seen_extra_run_at
        AND (
            input.may_overlap
            OR NOT EXISTS (
                SELECT
                FROM river_job
                WHERE river_job.id = job.last_job_id
                    AND river_job.state NOT IN ('cancelled', 'completed', 'discarded')
            )
        )
    ORDER BY job.name
    FOR UPDATE OF job
) AS held
WHERE job.name = held.name
RETURNING job.name;

-- name: periodic_fail
UPDATE django_river_periodicjob SET error = %(error)s WHERE name = %(name)s;

-- name: periodic_note_run
UPDATE django_river_periodicjob
SET last_run_at = clock_timestamp(), last_job_id = %(job_id)s
WHERE name = %(name)s;

-- name: periodic_get
SELECT entry, next_run_at, paused_at IS NOT NULL FROM django_river_periodicjob WHERE name = %(name)s FOR UPDATE;

-- name: periodic_pause
UPDATE django_river_periodicjob
SET paused_at = clock_timestamp(), overdue_since = NULL
WHERE name = %(name)s AND paused_at IS NULL
RETURNING name;

-- name: periodic_resume
UPDATE django_river_periodicjob
SET paused_at = NULL, next_run_at = %(next_run_at)s, extra_run_at = NULL, expected_since = clock_timestamp()
WHERE name = %(name)s;

-- name: periodic_list_watched
SELECT name, last_job_id FROM django_river_periodicjob WHERE last_job_id IS NOT NULL;

-- name: periodic_list_outcomes
SELECT id, state::text, finalized_at FROM river_job WHERE id = ANY(%(job_ids)s::bigint[]);

-- name: periodic_note_outcomes
-- A leader that is new notes what the last one has noted already: nothing goes back by that.
UPDATE django_river_periodicjob AS job
SET last_outcome = CASE
        WHEN job.last_finished_at > input.finished_at THEN job.last_outcome ELSE input.outcome
    END,
    last_finished_at = greatest(job.last_finished_at, input.finished_at),
    last_success_at = greatest(job.last_success_at, input.success_at)
FROM unnest(
    %(names)s::text[], %(outcomes)s::text[], %(finished_at)s::timestamptz[], %(success_at)s::timestamptz[]
) AS input (name, outcome, finished_at, success_at)
WHERE job.name = input.name;

-- name: periodic_note_overdue
UPDATE django_river_periodicjob AS job
SET overdue_since = CASE WHEN expected.is_overdue THEN clock_timestamp() END
FROM (
    SELECT name,
        greatest(last_success_at, expected_since) < clock_timestamp() - make_interval(secs => expect_success_within)
            AS is_overdue
    FROM django_river_periodicjob
    WHERE paused_at IS NULL AND next_run_at IS NOT NULL AND expect_success_within IS NOT NULL
) AS expected
WHERE expected.name = job.name AND expected.is_overdue <> (job.overdue_since IS NOT NULL)
RETURNING job.name, job.kind, job.last_success_at, job.expect_success_within, expected.is_overdue;
