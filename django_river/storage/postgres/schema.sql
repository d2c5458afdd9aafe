-- The tables of River itself at migration version 7, and our own lean indexes. Read by the migration.

-- name: schema_river
CREATE TYPE river_job_state AS ENUM (
    'available', 'cancelled', 'completed', 'discarded', 'pending', 'retryable', 'running', 'scheduled'
);

CREATE TABLE river_job (
    id bigserial PRIMARY KEY,
    state river_job_state NOT NULL DEFAULT 'available',
    attempt smallint NOT NULL DEFAULT 0,
    max_attempts smallint NOT NULL DEFAULT 25,
    attempted_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    finalized_at timestamptz,
    scheduled_at timestamptz NOT NULL DEFAULT now(),
    priority smallint NOT NULL DEFAULT 1,
    args jsonb NOT NULL,
    attempted_by text[],
    errors jsonb[],
    kind text NOT NULL,
    metadata jsonb NOT NULL DEFAULT '{}',
    queue text NOT NULL DEFAULT 'default',
    tags varchar(255)[] NOT NULL DEFAULT '{}',
    unique_key bytea,
    unique_states bit(8),
    CONSTRAINT finalized_or_finalized_at_null CHECK (
        (finalized_at IS NULL AND state NOT IN ('cancelled', 'completed', 'discarded'))
        OR (finalized_at IS NOT NULL AND state IN ('cancelled', 'completed', 'discarded'))
    ),
    CONSTRAINT max_attempts_is_positive CHECK (max_attempts > 0),
    CONSTRAINT priority_in_range CHECK (priority >= 1 AND priority <= 4),
    CONSTRAINT queue_length CHECK (char_length(queue) > 0 AND char_length(queue) < 128),
    CONSTRAINT kind_length CHECK (char_length(kind) > 0 AND char_length(kind) < 128)
);

CREATE FUNCTION river_job_state_in_bitmask(bitmask bit(8), state river_job_state)
RETURNS boolean
LANGUAGE sql
IMMUTABLE
AS $$
    SELECT CASE state
        WHEN 'available' THEN get_bit(bitmask, 7)
        WHEN 'cancelled' THEN get_bit(bitmask, 6)
        WHEN 'completed' THEN get_bit(bitmask, 5)
        WHEN 'discarded' THEN get_bit(bitmask, 4)
        WHEN 'pending' THEN get_bit(bitmask, 3)
        WHEN 'retryable' THEN get_bit(bitmask, 2)
        WHEN 'running' THEN get_bit(bitmask, 1)
        WHEN 'scheduled' THEN get_bit(bitmask, 0)
        ELSE 0
    END = 1;
$$;

CREATE UNIQUE INDEX river_job_unique_idx ON river_job (unique_key)
    WHERE unique_key IS NOT NULL
    AND unique_states IS NOT NULL
    AND river_job_state_in_bitmask(unique_states, state);

CREATE TABLE river_queue (
    name text PRIMARY KEY NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    metadata jsonb NOT NULL DEFAULT '{}',
    paused_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- Not logged: after a crash of the server nobody leads, which is the truth.
CREATE UNLOGGED TABLE river_leader (
    elected_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    leader_id text NOT NULL,
    name text PRIMARY KEY NOT NULL DEFAULT 'default',
    CONSTRAINT name_length CHECK (name = 'default'),
    CONSTRAINT leader_id_length CHECK (char_length(leader_id) > 0 AND char_length(leader_id) < 128)
);

CREATE TABLE river_notification (
    id bigserial PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    payload text NOT NULL,
    topic text NOT NULL,
    CONSTRAINT topic_length CHECK (char_length(topic) > 0 AND char_length(topic) < 128)
);
CREATE INDEX river_notification_created_at_idx ON river_notification (created_at);
CREATE INDEX river_notification_topic_id_idx ON river_notification (topic, id);

CREATE TABLE river_migration (
    line text NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT line_length CHECK (char_length(line) > 0 AND char_length(line) < 128),
    CONSTRAINT version_gte_1 CHECK (version >= 1),
    PRIMARY KEY (line, version)
);
INSERT INTO river_migration (line, version) SELECT 'main', generate_series(1, 7);

-- Half-full pages leave room for the next version of a row beside it; dead rows of a queue must go soon.
ALTER TABLE river_job SET (
    fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_vacuum_cost_limit = 2000,
    autovacuum_analyze_scale_factor = 0.05
);

-- By this a later backwards migration knows that the tables are ours to drop.
COMMENT ON TABLE river_job IS 'created by django_river';

-- name: schema_indexes
-- IF NOT EXISTS: on a large adopted table they may have been built CONCURRENTLY beforehand.
CREATE INDEX IF NOT EXISTS django_river_job_fetch_idx ON river_job (queue, priority, scheduled_at, id)
    WHERE state = 'available';
CREATE INDEX IF NOT EXISTS django_river_job_due_idx ON river_job (scheduled_at, id)
    WHERE state IN ('retryable', 'scheduled');
CREATE INDEX IF NOT EXISTS django_river_job_running_idx ON river_job (id) WHERE state = 'running';
CREATE INDEX IF NOT EXISTS django_river_job_failed_idx ON river_job (state, id)
    WHERE state IN ('cancelled', 'discarded');

-- name: schema_drop
DROP TABLE river_job;
DROP TABLE river_queue;
DROP TABLE river_leader;
DROP TABLE river_notification;
DROP TABLE river_migration;
DROP FUNCTION river_job_state_in_bitmask;
DROP TYPE river_job_state;

-- name: schema_drop_indexes
DROP INDEX IF EXISTS django_river_job_fetch_idx;
DROP INDEX IF EXISTS django_river_job_due_idx;
DROP INDEX IF EXISTS django_river_job_running_idx;
DROP INDEX IF EXISTS django_river_job_failed_idx;

-- name: schema_is_ours
SELECT obj_description(to_regclass('river_job'), 'pg_class') IS NOT DISTINCT FROM 'created by django_river';

-- name: schema_tables
SELECT name FROM unnest(ARRAY['river_job', 'river_queue', 'river_leader', 'river_notification', 'river_migration'])
    AS name
WHERE to_regclass(name) IS NOT NULL;

-- name: schema_version
SELECT max(version) FROM river_migration WHERE line = 'main';
