"""The demo, as a user runs it: ``manage.py demo`` in a process of its own, against a database of its own."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg
import pytest
from django.db import connection

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
MANAGE = ROOT / "testproject" / "manage.py"

pytestmark = pytest.mark.slow


class Gazette:
    """A Gazette in a folder, with its database."""

    def __init__(self, home, url):
        self.home, self.url = home, url
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        self.environ = os.environ | {
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "gazette.settings",
            "GAZETTE_HOME": str(home),
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "200",
        }

    def start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, str(MANAGE), *arguments],
            cwd=ROOT,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments):
        with self.start(*arguments) as process:
            output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
        return output

    @contextmanager
    def served(self):
        """The demo while it serves; gives its process and the site's address."""
        with self.start("demo", "--limit", "3", "--processes", "1", "--port", "0") as process:
            try:
                lines = iter(process.stdout.readline, "")
                address = next(filter(None, (re.search(r"The site: (\S+)", line) for line in lines)))[1]
                next(line for line in lines if "Quit the server" in line)
                yield process, address
            finally:
                process.kill()

    def value(self, sql):
        """The one value that a query gives."""
        connect = sqlite3.connect if self.url.startswith("sqlite") else psycopg.connect
        with closing(connect(self.url.removeprefix("sqlite:///"))) as database:
            return database.execute(sql).fetchone()[0]


@pytest.fixture
def gazette(tmp_path, transactional_db):
    if connection.vendor == "sqlite":
        yield Gazette(tmp_path, f"sqlite:///{tmp_path / 'gazette.sqlite3'}")
        return
    database = connection.settings_dict
    name = f"gazette_{os.getpid()}"
    server = psycopg.conninfo.make_conninfo(
        host=database["HOST"],
        port=database["PORT"] or None,
        user=database["USER"],
        password=database["PASSWORD"],
    )
    with psycopg.connect(server, dbname="postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            password = f":{database['PASSWORD']}" if database["PASSWORD"] else ""
            place = f"{database['HOST']}:{database['PORT'] or 5432}"
            yield Gazette(tmp_path, f"postgres://{database['USER']}{password}@{place}/{name}")
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def figure(output, name):
    """A number of the printed summary."""
    return int(re.search(rf"^\W*{name}\W+([\d,]+)\W*$", output, re.MULTILINE)[1].replace(",", ""))


def is_running(pid):
    """Whether a process lives; one that has ended and is nobody's child any more does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_it_sums_up_what_the_database_holds_and_shows_what_failed(gazette):
    output = gazette.run("demo", "--no-serve", "--limit", "40")

    assert figure(output, "documents") == gazette.value("SELECT count(*) FROM library_document") == 42
    assert figure(output, "indexed") == 40
    assert figure(output, "words") == gazette.value("SELECT sum(count) FROM library_wordcount") > 1000
    assert figure(output, "links") == gazette.value("SELECT count(*) FROM library_link") > 10
    for state in ("completed", "pending", "retryable"):
        count = gazette.value(f"SELECT count(*) FROM river_job WHERE state = '{state}'")
        assert figure(output, f"jobs of this run, {state}") == count > 0
    assert figure(output, "e-mails received") == gazette.value("SELECT count(*) FROM digests_delivery") == 3
    assert figure(output, "documents announced") == 40
    assert 0 < figure(output, "calls of the catalogue") < 20
    assert figure(output, "times the digest waited for documents") > 0
    row = next(line for line in output.splitlines() if "letter.txt" in line and "retryable" in line)
    assert "2 of 4" in row
    assert "UnicodeDecodeError: 'utf-8' codec can't decode byte" in row
    assert gazette.value("SELECT attempt FROM river_job WHERE state = 'retryable'") == 2


def test_it_can_be_run_again(gazette):
    gazette.run("demo", "--no-serve", "--limit", "4")

    output = gazette.run("demo", "--no-serve", "--limit", "4")

    assert "0 new, 4 to be read again" in output
    assert figure(output, "documents") == 6
    assert figure(output, "e-mails received") == 3


def test_it_serves_until_it_is_stopped_and_takes_its_workers_along(gazette):
    with gazette.served() as (process, address):
        with urllib.request.urlopen(address, timeout=20) as answer:
            page = answer.read().decode()
        worker = wait_until(lambda: gazette.value("SELECT min(pid) FROM django_river_client"))
        # The leader makes live digests, again and again.
        wait_until(lambda: gazette.value("SELECT count(*) FROM digests_livedigest") > 3, 30)
        process.terminate()

        assert "letter.txt" in page
        assert process.wait(60) == 0
    assert not is_running(worker)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_its_workers_do_not_outlive_it_even_when_it_is_killed(gazette):
    with gazette.served() as (process, _):
        worker = wait_until(lambda: gazette.value("SELECT min(pid) FROM django_river_client"))
        process.send_signal(signal.SIGKILL)
        wait_until(lambda: not is_running(worker), 30)


def test_the_sites_own_tests_pass(gazette):
    output = gazette.run("test", "testproject", "--noinput")

    assert "\nOK" in output
