"""The demo's worker processes, and ports to listen on."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

LOCALHOST = "127.0.0.1"
MANAGE = Path(__file__).resolve().parent.parent / "manage.py"
LEASH = Path(__file__).with_name("leash.py")
STOP_SECONDS = 45


def free_port(first: int = 0, *, tries: int = 100) -> int:
    """The first port from ``first`` on that nobody listens on; any free one if all are taken, or if it is 0."""
    for port in [*range(first, first + tries), 0] if first else [0]:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOCALHOST, port))
            return int(probe.getsockname()[1])
    raise OSError(f"no free port on {LOCALHOST}")


@contextlib.contextmanager
def workers(*options: str, environ: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``manage.py runworkers`` as a process of its own, for as long as the block lasts."""
    command = [str(MANAGE), "runworkers", *options]
    if sys.platform == "linux":
        command = [str(LEASH), str(os.getpid()), *command]
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for us; we tell the workers ourselves, once.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to stop, and insist if it does not."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def interrupt_once() -> None:
    """Let Ctrl-C, SIGTERM and SIGHUP end the demo by one exception; what comes after it does not disturb cleaning up.

    A terminal and a tool such as tox both pass Ctrl-C on, so it usually comes twice.
    """
    numbers = {
        signal.SIGINT,
        signal.SIGTERM,
        getattr(signal, "SIGHUP", signal.SIGTERM),
    }  # Windows has no SIGHUP
    wanted = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]  # as under nohup

    def interrupt(*_: object) -> None:
        for number in wanted:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in wanted:
        signal.signal(number, interrupt)
