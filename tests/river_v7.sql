-- A database as River's own tool leaves it at version 7, with River's indexes, and with some of a user's data.

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
    unique_states bit(8)
);
ALTER TABLE river_job
    ADD CONSTRAINT finalized_or_finalized_at_null CHECK (
        (finalized_at IS NULL AND state NOT IN ('cancelled', 'completed', 'discarded'))
        OR (finalized_at IS NOT NULL AND state IN ('cancelled', 'completed', 'discarded'))
    ),
    ADD CONSTRAINT max_attempts_is_positive CHECK (max_attempts > 0),
    ADD CONSTRAINT priority_in_range CHECK (priority >= 1 AND priority <= 4),
    ADD CONSTRAINT queue_length CHECK (char_length(queue) > 0 AND char_length(queue) < 128),
    ADD CONSTRAINT kind_length CHECK (char_length(kind) > 0 AND char_length(kind) < 128);

CREATE FUNCTION river_job_state_in_bitmask(bitmask bit(8), state river_job_state) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT get_bit(bitmask, strpos('srtpdkca', CASE state
        WHEN 'available' THEN 'a' WHEN 'cancelled' THEN 'c' WHEN 'completed' THEN 'k' WHEN 'discarded' THEN 'd'
        WHEN 'pending' THEN 'p' WHEN 'retryable' THEN 't' WHEN 'running' THEN 'r' ELSE 's'
    END) - 1) = 1
$$;

CREATE INDEX river_job_kind ON river_job (kind);
CREATE INDEX river_job_state_and_finalized_at_index ON river_job (state, finalized_at) WHERE finalized_at IS NOT NULL;
CREATE INDEX river_job_prioritized_fetching_index ON river_job (state, queue, priority, scheduled_at, id);
CREATE INDEX river_job_args_index ON river_job USING gin (args);
CREATE INDEX river_job_metadata_index ON river_job USING gin (metadata);
CREATE UNIQUE INDEX river_job_unique_idx ON river_job (unique_key)
    WHERE unique_key IS NOT NULL AND unique_states IS NOT NULL AND river_job_state_in_bitmask(unique_states, state);

CREATE TABLE river_queue (
    name text PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    metadata jsonb NOT NULL DEFAULT '{}',
    paused_at timestamptz,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNLOGGED TABLE river_leader (
    elected_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    leader_id text NOT NULL CONSTRAINT leader_id_length CHECK (char_length(leader_id) BETWEEN 1 AND 127),
    name text PRIMARY KEY DEFAULT 'default' CONSTRAINT name_length CHECK (name = 'default')
);
CREATE TABLE river_notification (
    id bigserial PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    payload text NOT NULL,
    topic text NOT NULL CONSTRAINT topic_length CHECK (char_length(topic) BETWEEN 1 AND 127)
);
CREATE TABLE river_migration (
    line text NOT NULL,
    version bigint NOT NULL CONSTRAINT version_gte_1 CHECK (version >= 1),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (line, version)
);
INSERT INTO river_migration (line, version) SELECT 'main', generate_series(1, 7);

INSERT INTO river_job (kind, args, queue) SELECT 'go_kind', '{"a": 1}', 'go' FROM generate_series(1, 3);
INSERT INTO river_queue (name) VALUES ('go');
