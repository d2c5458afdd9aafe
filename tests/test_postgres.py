"""The launcher of the test server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests import postgres
from tests.conftest import ROOT
from tests.postgres import PostgresError, Server, find_programs
from tests.waiting import wait_until

RUNNER = "from tests.postgres import Server\nwith Server() as server: print(server.folder, server.port, flush=True); input()"


def test_keeps_its_port_and_its_data_over_a_restart():
    with Server() as server:
        port = server.port
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept ()")

        server.restart()

        assert server.port == port
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_leaves_nothing_behind():
    with Server() as server:
        assert server.folder.exists()

    assert not server.folder.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.url)


def test_ends_when_its_process_is_killed():
    with subprocess.Popen(
        [sys.executable, "-c", RUNNER], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as runner:
        folder, port = runner.stdout.readline().split()
        runner.send_signal(signal.SIGKILL)

    wait_until(lambda: not Path(folder).exists(), 20, message="the folder was left")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"postgres://postgres@127.0.0.1:{port}/postgres")


def test_sweeps_a_folder_that_nobody_owns(monkeypatch, tmp_path):
    monkeypatch.setattr(postgres.tempfile, "gettempdir", lambda: str(tmp_path))
    folders = {name: tmp_path / f"{postgres.PREFIX}{name}" for name in ("dead", "alive", "new")}
    for folder in folders.values():
        folder.mkdir()
    owner = postgres._own(folders["alive"])
    for name in ("dead", "alive"):
        os.utime(folders[name], (0, 0))

    postgres._sweep()

    owner.close()
    assert [name for name, folder in folders.items() if folder.exists()] == ["alive", "new"]


def test_refuses_a_folder_without_postgres(monkeypatch, tmp_path):
    monkeypatch.setenv("PG_BIN", str(tmp_path))

    with pytest.raises(PostgresError, match=f"PG_BIN is '{tmp_path}', where there is no initdb"):
        find_programs()


def test_copies_programs_that_others_may_not_read(tmp_path):
    closed = tmp_path / "closed"
    closed.write_text("x")
    closed.chmod(0o600)
    opened = tmp_path / "opened"
    opened.write_text("x")
    opened.chmod(0o644)

    postgres._link_or_copy(str(closed), str(tmp_path / "a"))
    postgres._link_or_copy(str(opened), str(tmp_path / "b"))

    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "b").samefile(opened)
