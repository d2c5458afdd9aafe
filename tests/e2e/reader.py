"""Somebody who reads the documentation in an empty folder, and does what it says."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.pages import DOCS, Block, blocks
from tests.postgres import Server
from tests.waiting import wait_until

#: What the page leaves to the reader's browser.
LOOK_INTO_THE_ADMIN = """
from django.contrib.auth.models import User
from django.test import Client

client = Client(headers={"host": "127.0.0.1"})
assert client.login(username="admin", password="admin")
for page in ["", "job/", "job/1/change/", "queue/", "queue/emails/change/", "client/", "leader/"]:
    assert client.get(f"/admin/django_river/{page}").status_code == 200, page
"""
CREATE_DATABASE = (
    "import psycopg; psycopg.connect({url!r}, autocommit=True).execute('CREATE DATABASE mysite')"
)


class Reader:
    """Somebody who does what the page says."""

    def __init__(self, folder: Path, server: Server | None = None) -> None:
        self.folder = folder
        self.server = server

        programs = folder / "bin"
        programs.mkdir()
        write_program(programs / "python", f'exec "{sys.executable}" "$@"')
        if server is not None:
            create = CREATE_DATABASE.format(url=server.url)
            write_program(programs / "createdb", f'exec python -c "{create}"')
        left_out = {"DATABASE_URL", "DJANGO_SETTINGS_MODULE"}
        self.environ = {name: value for name, value in os.environ.items() if name not in left_out} | {
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(DOCS.parent),
            "PYTHONUNBUFFERED": "1",
        }

    def do(self, block: Block, expected: str) -> str:
        """Do what a block says; what was printed."""
        if block.language == "python":
            if block.first_line == "# in the shell":
                return self.run("python manage.py shell", stdin=block.text)
            return self.append(block)
        if "pip install" in block.text:
            return ""
        if "runserver" in block.text:
            return self.run("python manage.py shell", stdin=LOOK_INTO_THE_ADMIN)
        if "runworkers" in block.text and "--burst" not in block.text:
            return self.run_until(block.text, expected)
        return self.run(block.text)

    def append(self, block: Block) -> str:
        """Put code at the end of the file that its first line names."""
        code = block.text
        if self.server is not None and "postgresql" in code:
            assert '"5432"' in code
            code = code.replace('"5432"', f'"{self.server.port}"')
        path = self.folder / block.first_line.removeprefix("# ")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(f"\n\n{code}")
        return ""

    def run(self, script: str, *, stdin: str = "") -> str:
        """Run commands to their end, which must be good."""
        done = subprocess.run(
            ["sh", "-e", "-c", script],
            input=stdin,
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def run_until(self, script: str, expected: str) -> str:
        """Run a command until it has printed this, then stop it; it must end well."""
        log = self.folder / "log"
        with log.open("w") as file:
            process = subprocess.Popen(
                ["sh", "-c", f"exec {script}"],
                cwd=self.folder,
                env=self.environ,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_until(lambda: not missing(expected, log.read_text()), 30)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
        assert code == 0, log.read_text()
        return log.read_text()


def write_program(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def missing(expected: str, output: str) -> list[str]:
    """The lines that should have been printed and were not; ``…`` stands for anything."""
    lines = output.splitlines()
    left = []
    for line in expected.splitlines():
        pattern = re.escape(line).replace("…", ".*")
        at = next((at for at, printed in enumerate(lines) if re.fullmatch(pattern, printed)), None)
        if at is None:
            left.append(line)
        else:
            del lines[at]
    return left


def steps(page: str) -> Iterator[tuple[Block, str]]:
    """Each block of a page to be done, with what the page says it prints."""
    found = blocks(page)
    for block, following in zip(found, [*found[1:], Block("", "")], strict=True):
        if block.language != "text":
            yield block, following.text if following.language == "text" else ""
