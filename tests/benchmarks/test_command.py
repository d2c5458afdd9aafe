"""The smallest scenarios, end to end: real workers, a real database that is emptied."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.conftest import ROOT

pytestmark = [pytest.mark.postgres, pytest.mark.slow]


@pytest.fixture
def environ(process_environ) -> Iterator[dict[str, str]]:
    """The environment with an empty database of its own."""
    url = process_environ["DATABASE_URL"]
    name = f"{urlsplit(url).path[1:]}_benchmarks"
    drop, create = (
        SQL(f"{verb} {{}}").format(Identifier(name))
        for verb in ("DROP DATABASE IF EXISTS", "CREATE DATABASE")
    )
    with psycopg.connect(url, autocommit=True) as server:
        server.execute(drop)
        server.execute(create)
        yield process_environ | {"DATABASE_URL": urlunsplit(urlsplit(url)._replace(path=f"/{name}"))}
        server.execute(drop)


def benchmarks(environ: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=120
    )


def test_scenarios_run_end_to_end(environ, tmp_path):
    results, page = tmp_path / "results.json", tmp_path / "results.md"
    common = ["--quick", "--peers=none", f"--json={results}", f"--markdown={page}"]

    first = benchmarks(environ, *common, "--only=burn-down")
    second = benchmarks(environ, *common, "--only=bulk-enqueue")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    kept = json.loads(results.read_text())["scenarios"]
    assert list(kept) == ["burn-down", "bulk-enqueue"]
    ours = kept["burn-down"]["rounds"][0]["ours, sync"]
    assert ours["jobs/s"] > 0
    assert ours["WAL bytes/job"] > 100
    assert ours["RSS MB"] > 10
    # So short a run may be over between two looks.
    assert ours["connections"] <= 6
    assert "### bulk-enqueue" in page.read_text()


def test_a_database_with_tables_is_not_emptied(environ):
    with psycopg.connect(environ["DATABASE_URL"], autocommit=True) as server:
        server.execute("CREATE TABLE dear (id int)")

    refused = benchmarks(environ, "--quick", "--only=bulk-enqueue", "--peers=none")

    assert refused.returncode == 1
    assert "has tables. If all that is in it may be deleted, say --empty." in refused.stderr


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("--only=none-such", "There is no scenario 'none-such'"),
        ("--peers=celery", "There is no peer 'celery'"),
    ],
)
def test_what_does_not_exist_is_named(environ, argument, complaint):
    refused = benchmarks(environ, "--quick", argument)

    assert refused.returncode == 1
    assert complaint in refused.stderr


def test_the_scenarios_are_listed_without_a_database(environ):
    listed = benchmarks(_without_url(environ), "--list")

    assert listed.returncode == 0
    assert "burn-down-two" in listed.stdout


def test_a_run_without_a_database_says_what_it_needs(environ):
    refused = benchmarks(_without_url(environ), "--quick", "--only=bulk-enqueue", "--peers=none")

    assert refused.returncode == 1
    assert refused.stderr.strip() == (
        "DATABASE_URL must name a Postgres database made for this: it is emptied."
    )


def _without_url(environ: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name != "DATABASE_URL"}
