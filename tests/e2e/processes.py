"""Real ``runworkers`` processes for tests."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from django.db import connection

from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]


class Workers:
    """``manage.py runworkers`` with the tests' settings, on a test's database; killed at the end of the block."""

    def __init__(
        self,
        *flags: str,
        environ: Mapping[str, str],
        settings: Mapping[str, Any] | None = None,
        program: Sequence[str] = ("-m", "django"),
    ) -> None:
        self.flags = flags
        self.program = program
        self.environ = {**environ, "RIVER_TEST_SETTINGS": json.dumps(settings or {}), "PYTHONUNBUFFERED": "1"}
        self._log = tempfile.NamedTemporaryFile(prefix="runworkers-", suffix=".log")  # noqa: SIM115  (closed at exit)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if error is not None:
            sys.stderr.write(self.output)
        self._log.close()

    def start(self) -> None:
        """Start the process."""
        command = [sys.executable, *self.program, "runworkers", *self.flags]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=self.environ,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def output(self) -> str:
        """All it has printed."""
        return Path(self._log.name).read_text(encoding="utf-8")

    def wait_ready(self, times: int = 1) -> Self:
        """Wait until so many clients have said that they work."""
        wait_until(lambda: self.output.count(" works ") >= times or self.process.poll() is not None, 30)
        assert self.process.poll() is None, self.output
        return self

    def terminate(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def interrupt(self) -> None:
        """SIGINT."""
        self.process.send_signal(signal.SIGINT)

    def wait_stopping(self) -> None:
        """Wait until it says that it stops."""
        wait_until(lambda: "Stopping" in self.output)

    def wait(self, timeout: float = 60) -> int:
        """Wait for the end; the exit code."""
        return self.process.wait(timeout)

    def stop(self) -> int:
        """SIGTERM, and wait for the end; the exit code."""
        self.terminate()
        return self.wait()

    def kill(self) -> None:
        """SIGKILL, to all of its session; safe twice."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def freeze(pid: int) -> None:
    """Stop a process, but not while it holds the one lock that all writers of an SQLite database share."""
    os.kill(pid, signal.SIGSTOP)
    while connection.vendor == "sqlite" and _is_locked(connection.settings_dict["NAME"]):
        os.kill(pid, signal.SIGCONT)
        threading.Event().wait(0.01)
        os.kill(pid, signal.SIGSTOP)


def _is_locked(path: str) -> bool:
    with closing(sqlite3.connect(path, timeout=1.0, isolation_level=None)) as another:
        try:
            another.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return True
        another.execute("ROLLBACK")
    return False
