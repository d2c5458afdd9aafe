"""What every test may ask for. One run has one database: ``RIVER_TEST_DATABASE`` is ``postgres`` or ``sqlite``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import TransactionTestCase

from django_river.known_queues import known_queues
from tests.postgres import Server

ROOT = Path(__file__).parents[1]
#: What migrations fill stays; truncating it would mean to fill it again before each test.
KEPT_TABLES = frozenset({"django_migrations", "django_content_type", "auth_permission", "river_migration"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what is for the other database."""
    other = "postgres" if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3") else "sqlite"
    for item in items:
        if item.get_closest_marker(other):
            item.add_marker(pytest.mark.skip(reason=f"for {other} only"))


def pytest_report_header() -> str:
    return f"database: {settings.DATABASES['default']['ENGINE']}"


@pytest.fixture(autouse=True)
def forgetful() -> Iterator[None]:
    """What a test has seen of queues is gone with its rows."""
    yield
    known_queues.__init__()  # type: ignore[misc]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """The server that the whole run shares: to be connected to, never to be stopped."""
    with Server() as server:
        yield server


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None,
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Tell Django where the database is, now that a test wants one."""
    database = connections.databases["default"]
    if database["ENGINE"].endswith("sqlite3"):
        file = tmp_path_factory.mktemp("database") / "test.sqlite3"
        database["TEST"]["NAME"] = str(file)
    elif not os.environ.get("DATABASE_URL", "").startswith("postgres"):
        database["PORT"] = str(request.getfixturevalue("postgres").port)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """Empty the tables after a committing test in one go, instead of Django's full flush."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda self: _empty_tables(connection))
        yield


@pytest.fixture
def using(transactional_db: None) -> str:
    """The alias of a database whose commits are real, as other threads and processes need it."""
    return "default"


@pytest.fixture
def second(using: str) -> Iterator[str]:
    """Another alias of the same database: a connection with transactions of its own."""
    other = connection.copy("second")
    # Connected before it is known: Django's test case forbids to connect to what it has not been told of.
    other.connect()
    connections["second"], connections.databases["second"] = other, other.settings_dict
    yield "second"
    other.close()
    del connections["second"], connections.databases["second"]


@pytest.fixture
def process_environ(transactional_db: None) -> dict[str, str]:
    """The environment for a process that is to work on this test's database."""
    return environ_for(_url(connection))


@pytest.fixture
def private_postgres() -> Iterator[Server]:
    """A migrated server of one's own, which may be stopped, restarted and broken."""
    with Server() as server:
        migrate = [sys.executable, "-m", "django", "migrate", "--run-syncdb", "--verbosity=0"]
        subprocess.run(migrate, cwd=ROOT, env=environ_for(server.url), check=True)
        yield server


def environ_for(url: str) -> dict[str, str]:
    """The environment for a process with the settings of the tests and a database of its own."""
    chosen = {
        "DATABASE_URL": url,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "RIVER_TEST_DATABASE": "",
    }
    return os.environ | chosen


def _url(connection: BaseDatabaseWrapper) -> str:
    database = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    password = f":{database['PASSWORD']}" if database["PASSWORD"] else ""
    return f"postgres://{database['USER']}{password}@{database['HOST']}:{database['PORT']}/{database['NAME']}"


def _empty_tables(connection: BaseDatabaseWrapper) -> None:
    tables = sorted(set(connection.introspection.django_table_names(only_existing=True)) - KEPT_TABLES)
    quoted = [connection.ops.quote_name(table) for table in tables]
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("PRAGMA defer_foreign_keys = ON")
            for table in quoted:
                cursor.execute(f"DELETE FROM {table}")
            return
        # What still holds a lock here is a thread or a process that the test has left behind.
        cursor.execute("SET LOCAL lock_timeout = '10s'")
        cursor.execute(f"LOCK TABLE {', '.join(quoted)}")
        # To truncate an empty table costs as much as a full one: new files for it and for each of its indexes.
        cursor.execute(
            " UNION ALL ".join(f"SELECT '{table}' WHERE EXISTS (SELECT FROM {table})" for table in quoted)
        )
        if filled := [table for (table,) in cursor.fetchall()]:
            cursor.execute(f"TRUNCATE {', '.join(filled)} CASCADE")
