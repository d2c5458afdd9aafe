"""``river_queues list --watch`` in a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT
from tests.factories import JobFactory
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

CTRL_C = b"\x03"
HIDE_CURSOR, SHOW_CURSOR = b"\x1b[?25l", b"\x1b[?25h"


#: Makes the terminal that it is started on its own, so that Ctrl-C there is a signal, which tests that run in the
#: background would have it ignore; then it becomes the program.
TAKE_TERMINAL = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


class Terminal:
    """A terminal of 30 lines, and the program that controls it."""

    def __init__(self, command: list[str], environ: dict[str, str]) -> None:
        self.output = b""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 160, 0, 0))
        os.set_blocking(self._ours, False)
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_without_size(environ) | {"TERM": "xterm"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def type(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def read(self) -> bytes:
        """All that has been printed."""
        try:
            while found := os.read(self._ours, 65536):
                self.output += found
        except (BlockingIOError, OSError):
            # Nothing more just now, or for ever.
            pass
        return self.output

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.read()
        os.close(self._ours)


def _without_size(environ: dict[str, str]) -> dict[str, str]:
    """What runs the tests may have said how large its terminal is, and a program believes that before its own."""
    return {name: value for name, value in environ.items() if name not in {"COLUMNS", "LINES"}}


@pytest.fixture
def terminal(process_environ) -> Iterator[Terminal]:
    program = ["-m", "django", "river_queues", "list", "--watch"]
    command = [sys.executable, "-c", TAKE_TERMINAL, *program]
    opened = Terminal(command, process_environ)
    yield opened
    opened.close()
    # Shown if the test has failed.
    sys.stderr.write(opened.output.decode())


def test_it_follows_and_leaves_the_terminal_as_it_was(terminal):
    wait_until(lambda: b"default" in terminal.read(), 30)
    JobFactory.create_batch(123, available=True)
    wait_until(lambda: b"123" in terminal.read())
    terminal.type(CTRL_C)
    wait_until(lambda: terminal.read() and terminal.process.poll() is not None)

    assert terminal.process.returncode == 0, terminal.output
    assert b"Traceback" not in terminal.output
    assert terminal.output.rfind(SHOW_CURSOR) > terminal.output.rfind(HIDE_CURSOR) >= 0
