"""On Postgres the tables are River's to the letter, made by us or adopted; everywhere they go as they came."""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.db.migrations import CreateModel
from pytest_django import DjangoDbBlocker

from django_river import storage
from django_river.exceptions import MigrationError
from django_river.jobs.states import State
from django_river.storage.migration import RiverTables
from tests.storage.steps import claim, insert, settle

RIVER_V7 = Path(__file__).with_name("river_v7.sql").read_text()
TABLES = ["river_job", "river_leader", "river_migration", "river_notification", "river_queue"]
OUR_INDEXES = {f"django_river_job_{name}_idx" for name in ("due", "failed", "fetch", "running")}

TIME = "timestamp with time zone"
NOW = "now()"
#: Type, "not null" and default of each column of River's, in its order.
COLUMNS = {
    "river_job": {
        "id": ("bigint", True, "nextval('river_job_id_seq'::regclass)"),
        "state": ("river_job_state", True, "'available'::river_job_state"),
        "attempt": ("smallint", True, "0"),
        "max_attempts": ("smallint", True, "25"),
        "attempted_at": (TIME, False, None),
        "created_at": (TIME, True, NOW),
        "finalized_at": (TIME, False, None),
        "scheduled_at": (TIME, True, NOW),
        "priority": ("smallint", True, "1"),
        "args": ("jsonb", True, None),
        "attempted_by": ("text[]", False, None),
        "errors": ("jsonb[]", False, None),
        "kind": ("text", True, None),
        "metadata": ("jsonb", True, "'{}'::jsonb"),
        "queue": ("text", True, "'default'::text"),
        "tags": ("character varying(255)[]", True, "'{}'::character varying[]"),
        "unique_key": ("bytea", False, None),
        "unique_states": ("bit(8)", False, None),
    },
    "river_leader": {
        "elected_at": (TIME, True, None),
        "expires_at": (TIME, True, None),
        "leader_id": ("text", True, None),
        "name": ("text", True, "'default'::text"),
    },
    "river_migration": {
        "line": ("text", True, None),
        "version": ("bigint", True, None),
        "created_at": (TIME, True, NOW),
    },
    "river_notification": {
        "id": ("bigint", True, "nextval('river_notification_id_seq'::regclass)"),
        "created_at": (TIME, True, NOW),
        "payload": ("text", True, None),
        "topic": ("text", True, None),
    },
    "river_queue": {
        "name": ("text", True, None),
        "created_at": (TIME, True, NOW),
        "metadata": ("jsonb", True, "'{}'::jsonb"),
        "paused_at": (TIME, False, None),
        "updated_at": (TIME, True, NOW),
    },
}
CONSTRAINTS = {
    "river_job": {
        "river_job_pkey": "PRIMARY KEY (id)",
        "finalized_or_finalized_at_null": (
            "CHECK (finalized_at IS NULL AND (state <> ALL (ARRAY['cancelled'::river_job_state, "
            "'completed'::river_job_state, 'discarded'::river_job_state])) OR finalized_at IS NOT NULL AND (state = "
            "ANY (ARRAY['cancelled'::river_job_state, 'completed'::river_job_state, 'discarded'::river_job_state])))"
        ),
        "max_attempts_is_positive": "CHECK (max_attempts > 0)",
        "priority_in_range": "CHECK (priority >= 1 AND priority <= 4)",
        "queue_length": "CHECK (char_length(queue) > 0 AND char_length(queue) < 128)",
        "kind_length": "CHECK (char_length(kind) > 0 AND char_length(kind) < 128)",
    },
    "river_leader": {
        "river_leader_pkey": "PRIMARY KEY (name)",
        "name_length": "CHECK (name = 'default'::text)",
        "leader_id_length": "CHECK (char_length(leader_id) > 0 AND char_length(leader_id) < 128)",
    },
    "river_migration": {
        "river_migration_pkey": "PRIMARY KEY (line, version)",
        "line_length": "CHECK (char_length(line) > 0 AND char_length(line) < 128)",
        "version_gte_1": "CHECK (version >= 1)",
    },
    "river_notification": {
        "river_notification_pkey": "PRIMARY KEY (id)",
        "topic_length": "CHECK (char_length(topic) > 0 AND char_length(topic) < 128)",
    },
    "river_queue": {"river_queue_pkey": "PRIMARY KEY (name)"},
}
INDEXES = {
    "river_job_unique_idx": (
        "CREATE UNIQUE INDEX river_job_unique_idx ON public.river_job USING btree (unique_key) WHERE unique_key IS NOT "
        "NULL AND unique_states IS NOT NULL AND river_job_state_in_bitmask(unique_states, state)"
    ),
    "river_notification_created_at_idx": (
        "CREATE INDEX river_notification_created_at_idx ON public.river_notification USING btree (created_at)"
    ),
    "river_notification_topic_id_idx": (
        "CREATE INDEX river_notification_topic_id_idx ON public.river_notification USING btree (topic, id)"
    ),
    "django_river_job_fetch_idx": (
        "CREATE INDEX django_river_job_fetch_idx ON public.river_job USING btree (queue, priority, scheduled_at, id) "
        "WHERE state = 'available'::river_job_state"
    ),
    "django_river_job_due_idx": (
        "CREATE INDEX django_river_job_due_idx ON public.river_job USING btree (scheduled_at, id) WHERE state = "
        "ANY (ARRAY['retryable'::river_job_state, 'scheduled'::river_job_state])"
    ),
    "django_river_job_running_idx": (
        "CREATE INDEX django_river_job_running_idx ON public.river_job USING btree (id) WHERE state = "
        "'running'::river_job_state"
    ),
    "django_river_job_failed_idx": (
        "CREATE INDEX django_river_job_failed_idx ON public.river_job USING btree (state, id) WHERE state = "
        "ANY (ARRAY['cancelled'::river_job_state, 'discarded'::river_job_state])"
    ),
}


@pytest.fixture
def scratch(django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path: Path) -> Iterator[str]:
    """An alias of an empty database beside that of the tests."""
    is_postgres = connection.vendor == "postgresql"
    before = connection.settings_dict
    name = f"{before['NAME']}_scratch" if is_postgres else str(tmp_path / "scratch.sqlite3")
    with django_db_blocker.unblock():
        if is_postgres:
            _rows("default", f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            _rows("default", f'CREATE DATABASE "{name}"')
        connections.databases["scratch"] = before | {"NAME": name}
        yield "scratch"
        connections["scratch"].close()
        del connections["scratch"], connections.databases["scratch"]
        if is_postgres:
            _rows("default", f'DROP DATABASE "{name}"')


def _rows(using: str, sql: str) -> list[tuple]:
    with connections[using].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def migrate(using: str, target: str = "0001") -> None:
    call_command("migrate", "django_river", target, database=using, verbosity=0)


def names(using: str) -> set[str]:
    """Tables, sequences, indexes, types and functions of ours or of River's."""
    found = set(connections[using].introspection.table_names())
    if connections[using].vendor == "postgresql":
        for sql in (
            "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'public'",
            "SELECT typname FROM pg_type JOIN pg_namespace n ON n.oid = typnamespace WHERE nspname = 'public'",
            "SELECT proname FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace WHERE nspname = 'public'",
        ):
            found |= {name for (name,) in _rows(using, sql)}
    return {name for name in found if "river" in name}


def sql_of(using: str, **options: bool) -> str:
    out = StringIO()
    call_command("sqlmigrate", "django_river", "0001", database=using, stdout=out, **options)
    return out.getvalue()


@pytest.mark.postgres
@pytest.mark.django_db
class TestTables:
    @pytest.mark.parametrize("table", TABLES)
    def test_have_the_columns_of_river(self, table):
        found = _rows(
            "default",
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid) "
            "FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum "
            f"WHERE attrelid = '{table}'::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        )

        assert {name: tuple(rest) for name, *rest in found} == COLUMNS[table]
        assert [name for name, *_ in found] == list(COLUMNS[table])

    @pytest.mark.parametrize("table", TABLES)
    def test_have_the_constraints_of_river(self, table):
        found = _rows(
            "default",
            f"SELECT conname, pg_get_constraintdef(oid, true) FROM pg_constraint WHERE conrelid = '{table}'::regclass "
            # Postgres 18 counts NOT NULL among the constraints.
            "AND contype <> 'n'",
        )

        assert dict(found) == CONSTRAINTS[table]

    def test_have_the_indexes_that_we_chose(self):
        found = _rows(
            "default",
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid, 0, true) FROM pg_index "
            f"WHERE indrelid::regclass::text IN ({', '.join(map(repr, TABLES))}) AND NOT indisprimary",
        )

        assert {name: text.replace(" ON river", " ON public.river") for name, text in found} == INDEXES

    def test_have_the_states_of_river_in_its_order(self):
        found = _rows("default", "SELECT unnest(enum_range(NULL::river_job_state))::text")

        assert [state for (state,) in found] == list(State)

    def test_have_rivers_bits(self):
        found = _rows(
            "default",
            "SELECT state::text, river_job_state_in_bitmask(mask::bit(8), state) "
            "FROM generate_series(0, 255) AS mask, unnest(enum_range(NULL::river_job_state)) AS state ORDER BY mask, 1",
        )

        assert found == [
            (state.value, bool(mask & state.bit)) for mask in range(256) for state in sorted(State)
        ]

    def test_have_a_function_that_an_index_may_use(self):
        found = _rows(
            "default",
            "SELECT provolatile, pg_get_function_result(oid), pg_get_function_identity_arguments(oid) "
            "FROM pg_proc WHERE proname = 'river_job_state_in_bitmask'",
        )

        assert found == [("i", "boolean", "bitmask bit, state river_job_state")]

    def test_keep_room_and_are_cleaned_often(self):
        ((options,),) = _rows("default", "SELECT reloptions FROM pg_class WHERE relname = 'river_job'")

        assert set(options) == {
            "fillfactor=50",
            "autovacuum_vacuum_scale_factor=0.02",
            "autovacuum_vacuum_threshold=1000",
            "autovacuum_vacuum_cost_limit=2000",
            "autovacuum_analyze_scale_factor=0.05",
        }

    def test_are_logged_but_for_the_leaders(self):
        found = _rows(
            "default", "SELECT relname FROM pg_class WHERE relpersistence = 'u' AND relkind = 'r' ORDER BY 1"
        )

        assert found == [("river_leader",)]

    def test_are_at_the_version_that_rivers_own_tool_expects(self):
        found = _rows("default", "SELECT line, version FROM river_migration ORDER BY version")

        assert found == [("main", version) for version in range(1, 8)]


class TestMigration:
    def test_is_complete(self, db):
        call_command("makemigrations", "django_river", check=True, dry_run=True, verbosity=0)

    def test_can_be_written_down(self):
        """As squashing does."""
        operation = RiverTables([CreateModel("Queue", [])])

        name, args, options = operation.deconstruct()
        assert (name, len(args), options) == ("RiverTables", 1, {})
        assert RiverTables(*args).describe() == "Create River's tables, or adopt them"

    def test_goes_back_and_forth(self, scratch):
        migrate(scratch)
        forth = names(scratch)
        migrate(scratch, "zero")
        back = names(scratch)
        migrate(scratch)

        assert {"river_job", "django_river_client"} <= forth
        assert back == set()
        assert names(scratch) == forth
        call_command("migrate", "django_river", database=scratch, verbosity=0)
        assert insert(storage.for_caller(scratch)).state == "available"

    def test_shows_its_sql(self, scratch):
        before, back = sql_of(scratch), sql_of(scratch, backwards=True)
        migrate(scratch)

        assert sql_of(scratch) == before
        assert sql_of(scratch, backwards=True) == back
        for table in ("river_job", "river_queue", "river_leader", "django_river_client"):
            assert f"TABLE {table}" in before.replace('"', "")
            assert f"DROP TABLE {table}" in back.replace('"', "")

    @pytest.mark.postgres
    def test_shows_sql_that_can_be_run(self, scratch):
        _rows(scratch, sql_of(scratch).replace("%", "%%"))
        made = names(scratch)
        _rows(scratch, sql_of(scratch, backwards=True))

        assert {"river_job", "django_river_client", *OUR_INDEXES} <= made
        assert names(scratch) == set()


@pytest.mark.postgres
class TestAdoption:
    @pytest.fixture
    def river(self, scratch):
        """A database that River has migrated."""
        _rows(scratch, RIVER_V7)
        return scratch

    def test_keeps_tables_and_adds_what_is_ours(self, river):
        before, columns = names(river), self.columns(river)

        migrate(river)

        added = {name for name in names(river) - before if "client" not in name}
        assert added == OUR_INDEXES
        assert self.columns(river) == columns
        assert _rows(river, "SELECT count(*), min(kind) FROM river_job") == [(3, "go_kind")]
        assert _rows(river, "SELECT reloptions FROM pg_class WHERE relname = 'river_job'") == [(None,)]

    def columns(self, using: str) -> list[tuple]:
        return _rows(
            using,
            "SELECT table_name, column_name, data_type, column_default, is_nullable FROM information_schema.columns "
            "WHERE table_schema = 'public' AND table_name LIKE 'river%' ORDER BY 1, ordinal_position",
        )

    def test_works_the_jobs_that_are_there(self, river):
        migrate(river)
        store = storage.for_caller(river)

        jobs = claim(store, queue="go")

        assert [settle(store, job) for job in jobs] == ["completed"] * 3

    def test_goes_back_without_touching_what_is_rivers(self, river):
        before = names(river)
        migrate(river)
        migrate(river, "zero")

        assert names(river) == before
        assert _rows(river, "SELECT count(*) FROM river_job") == [(3,)]
        assert _rows(river, "SELECT name FROM river_queue") == [("go",)]
        migrate(river)

    def test_shows_sql_that_only_adds(self, river):
        assert "CREATE TABLE river" not in sql_of(river)
        assert "django_river_job_fetch_idx" in sql_of(river)
        assert "DROP TABLE river" not in sql_of(river, backwards=True)

    def test_takes_indexes_that_were_built_beforehand(self, river):
        _rows(river, INDEXES["django_river_job_fetch_idx"].replace("INDEX", "INDEX CONCURRENTLY", 1))

        migrate(river)

        assert names(river) >= OUR_INDEXES

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ("DELETE FROM river_migration WHERE version > 5", "at version 5; .* 'river migrate-up'"),
            ("DELETE FROM river_migration", "at an unknown version; .* 'river migrate-up'"),
            ("DROP TABLE river_migration", "at an unknown version; .* 'river migrate-up'"),
            (
                "INSERT INTO river_migration (line, version) VALUES ('main', 8)",
                "at version 8; .* newer release",
            ),
            (
                "DROP TABLE river_notification, river_leader",
                "at version 7, but lacks river_leader and river_notification",
            ),
        ],
    )
    def test_refuses_another_version_and_changes_nothing(self, river, change, said):
        _rows(river, change)
        before = names(river)

        with pytest.raises(MigrationError, match=said):
            migrate(river)
        assert names(river) == before
