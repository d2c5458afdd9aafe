"""The fixtures of ``conftest``."""

from __future__ import annotations

import subprocess
import sys

import psycopg
import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection

from django_river.models import Queue

COUNT = "import django; django.setup(); from django_river.models import Queue; print(Queue.objects.count())"


@pytest.mark.parametrize("_", range(2))
def test_tables_are_empty_but_for_what_migrations_fill(using, _):
    assert not Queue.objects.exists()
    assert not User.objects.exists()
    assert Permission.objects.exists()

    Queue.objects.create(name="left_behind")
    User.objects.create(username="left_behind")


def test_other_processes_see_what_a_test_commits(process_environ):
    Queue.objects.create(name="emails")

    counted = subprocess.run(
        [sys.executable, "-c", COUNT], env=process_environ, stdout=subprocess.PIPE, check=True
    )

    assert counted.stdout == b"1\n"


@pytest.mark.postgres
def test_a_private_server_is_migrated(private_postgres):
    with psycopg.connect(private_postgres.url) as private:
        assert private.execute("SELECT count(*) FROM river_job").fetchone() == (0,)


@pytest.mark.postgres
def test_postgres_tests_run_on_postgres(db):
    assert connection.vendor == "postgresql"


@pytest.mark.sqlite
def test_sqlite_tests_run_on_sqlite(db):
    assert connection.vendor == "sqlite"
