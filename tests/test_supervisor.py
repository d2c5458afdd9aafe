"""The supervisor and real children: small Python programs in the place of workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from django_river import supervisor as module
from django_river.stop_signals import StopSignals
from django_river.supervisor import Supervisor
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

#: Notes its pid, and what it is told.
CHILD = """
import pathlib, signal, sys, time
folder, ends_on = pathlib.Path(sys.argv[1]), int(sys.argv[2])
over = []
def noted(number, frame):
    with (folder / "signals").open("a") as file:
        file.write(signal.Signals(number).name + " ")
    if number == ends_on:
        over.append(number)
signal.signal(signal.SIGTERM, noted)
signal.signal(signal.SIGINT, noted)
import os
(folder / str(os.getpid())).touch()
# No event: one that is set by a handler while it is waited for can stand still for ever.
while not over:
    time.sleep(0.05)
"""


class Running:
    """A supervisor in a thread, and the folder its children write into."""

    def __init__(self, folder: Path, command: list[str], **options: object) -> None:
        self.folder = folder
        self.signals = StopSignals()
        self.supervisor = Supervisor(
            command,
            signals=self.signals,
            **{"processes": 1, "is_burst": False, "stop_timeout": 5.0, **options},
        )
        self.code: int | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.code = self.supervisor.run()

    def pids(self) -> set[int]:
        return {int(file.name) for file in self.folder.iterdir() if file.name.isdecimal()}

    def alive(self) -> set[int]:
        return {pid for pid in self.pids() if psutil.pid_exists(pid)}

    def told(self) -> list[str]:
        file = self.folder / "signals"
        return file.read_text().split() if file.exists() else []

    def wait(self) -> int | None:
        self._thread.join(30)
        return self.code


@pytest.fixture
def run(tmp_path):
    """Starts supervisors, and leaves nothing of them running."""
    started: list[Running] = []

    def start(program: str, *args: object, **options: object) -> Running:
        command = [sys.executable, "-c", program, str(tmp_path), *map(str, args)]
        started.append(Running(tmp_path, command, **options))
        return started[-1]

    yield start
    for running in started:
        for pid in running.alive():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        running.signals.send()
        running.wait()


def test_a_signal_is_forwarded_and_the_end_awaited(run):
    running = run(CHILD, int(signal.SIGTERM), processes=2)
    wait_until(lambda: len(running.pids()) == 2)
    running.signals.send()

    assert running.wait() == 0
    assert running.told() == ["SIGTERM", "SIGTERM"]
    assert not running.alive()


def test_the_second_signal_reaches_children_as_another_one(run):
    running = run(CHILD, int(signal.SIGINT))
    wait_until(running.pids)
    running.signals.send()
    wait_until(lambda: running.told() == ["SIGTERM"])
    running.signals.send()

    assert running.wait() == 0
    assert running.told() == ["SIGTERM", "SIGINT"]


def test_a_killed_child_is_replaced(run):
    running = run(CHILD, int(signal.SIGTERM))
    (first,) = wait_until(running.pids)
    os.kill(first, signal.SIGKILL)

    wait_until(lambda: len(running.pids()) == 2)
    running.signals.send()
    assert running.wait() == 0


def test_children_that_do_not_stop_are_killed(run, monkeypatch):
    monkeypatch.setattr(module, "KILL_MARGIN", 0.1)
    running = run(CHILD, 0, stop_timeout=0.1)
    wait_until(running.pids)
    running.signals.send()

    assert running.wait() == 128 + signal.SIGKILL
    assert not running.alive()


def test_what_cannot_start_ends_all_with_its_code(run):
    running = run("import sys; sys.exit(1)", processes=3)

    assert running.wait() == 1


def test_a_child_that_is_told_to_stop_before_it_listens_has_ended_well(run):
    running = run(
        "import os, pathlib, sys, time; pathlib.Path(sys.argv[1], str(os.getpid())).touch(); time.sleep(60)"
    )
    wait_until(running.pids)
    running.signals.send()

    assert running.wait() == 0


def test_a_process_that_cannot_be_made_is_tried_again(run, monkeypatch, caplog):
    def refuse(*args, **options):
        if not refused:
            refused.append(1)
            raise BlockingIOError("no more processes")
        return popen(*args, **options)

    refused, popen = [], subprocess.Popen
    monkeypatch.setattr(module.subprocess, "Popen", refuse)
    running = run(CHILD, int(signal.SIGTERM), processes=2)
    wait_until(lambda: len(running.pids()) == 2)
    running.signals.send()

    assert running.wait() == 0
    assert "no worker process can be started, trying again in 0." in caplog.text


def test_a_process_that_ran_long_is_started_again_soon(run, monkeypatch):
    monkeypatch.setattr(module, "SETTLED_SECONDS", -1.0)
    running = run("import os, pathlib, sys; pathlib.Path(sys.argv[1], str(os.getpid())).touch(); sys.exit(2)")
    wait_until(lambda: len(running.pids()) >= 3)

    assert running.supervisor._children[0].backoff.failures <= 1
    running.signals.send()


def test_what_keeps_ending_is_started_again_after_growing_pauses(run, monkeypatch):
    monkeypatch.setattr(module.Backoff, "next", lambda self: 0.01)
    running = run("import os, pathlib, sys; pathlib.Path(sys.argv[1], str(os.getpid())).touch(); sys.exit(2)")

    wait_until(lambda: len(running.pids()) >= 4)
    running.signals.send()
    assert running.wait() in {0, 2}


#: Two processes that end with different codes: the first one to make the file, and the other one.
TWO_ENDS = """
import os, pathlib, sys
codes = list(map(int, sys.argv[2:]))
try:
    (pathlib.Path(sys.argv[1]) / "first").touch(exist_ok=False)
except FileExistsError:
    sys.exit(codes[1])
sys.exit(codes[0])
"""


@pytest.mark.parametrize(
    ("codes", "worst"), [((0, 0), 0), ((0, 3), 3), ((3, 1), 1), ((1, 3), 1), ((3, 2), 2), ((0, 1), 1)]
)
def test_a_burst_ends_with_its_children_and_the_worst_of_their_codes(run, codes, worst):
    running = run(TWO_ENDS, *codes, processes=2, is_burst=True)

    assert running.wait() == worst


def test_a_killed_child_of_a_burst_is_worse_than_one_that_was_interrupted(run):
    running = run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", is_burst=True)

    assert running.wait() == 128 + signal.SIGKILL


def test_a_child_that_has_ended_meanwhile_is_sent_nothing():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(30)

    module._send(process, signal.SIGKILL)
    assert process.returncode == 0


class Wanted:
    """In place of a scaler: says what a test says."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.pids: list[int] = []
        self.dispensable: list[int] = []
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")

    def stop(self, timeout: float) -> None:
        self.calls.append("stop")


class TestScaled:
    @pytest.fixture
    def scaler(self):
        return Wanted(1)

    @pytest.fixture
    def running(self, run, scaler):
        running = run(CHILD, int(signal.SIGTERM), scaler=scaler)
        wait_until(running.pids)
        return running

    def test_has_as_many_as_are_wanted_and_says_which(self, running, scaler):
        scaler.wanted = 3
        wait_until(lambda: len(running.pids()) == 3)

        wait_until(lambda: running.pids() == set(scaler.pids))
        running.signals.send()
        assert running.wait() == 0
        assert scaler.calls == ["start", "stop"]

    def test_lets_go_of_who_can_go_first(self, running, scaler):
        scaler.wanted = 3
        wait_until(lambda: len(running.pids()) == 3)
        first, second, third = wait_until(lambda: len(scaler.pids) == 3 and list(scaler.pids))
        scaler.dispensable = [second, third]
        scaler.wanted = 2

        wait_until(lambda: running.alive() == {first, third})
        assert running.told() == ["SIGTERM"]
        wait_until(lambda: scaler.pids == [first, third])

    def test_keeps_all_while_nobody_can_go(self, running, scaler):
        scaler.wanted = 2
        wait_until(lambda: len(running.pids()) == len(scaler.pids) == 2)
        scaler.wanted = 1
        looked = scaler.pids
        wait_until(lambda: scaler.pids is not looked)

        assert len(running.alive()) == 2

    def test_lets_go_of_one_that_waits_to_be_started_again(self, running, scaler, monkeypatch):
        monkeypatch.setattr(module.Backoff, "next", lambda self: 60.0)
        scaler.wanted = 2
        wait_until(lambda: len(running.pids()) == 2)
        os.kill(wait_until(lambda: len(scaler.pids) == 2 and scaler.pids)[1], signal.SIGKILL)
        wait_until(lambda: len(scaler.pids) == 1)
        scaler.wanted = 1

        wait_until(lambda: len(running.supervisor._children) == 1)
        assert running.supervisor._children[0].process.poll() is None

    def test_kills_who_has_been_told_to_stop_and_does_not(self, run, scaler, monkeypatch):
        monkeypatch.setattr(module, "KILL_MARGIN", 0.1)
        scaler.wanted = 2
        running = run(CHILD, 0, stop_timeout=0.1, processes=2, scaler=scaler)
        first, second = wait_until(lambda: len(running.pids()) == len(scaler.pids) == 2 and scaler.pids)
        scaler.dispensable, scaler.wanted = [second], 1

        wait_until(lambda: running.alive() == {first})

    def test_a_signal_ends_those_that_are_leaving_too(self, run, scaler):
        scaler.wanted = 2
        running = run(CHILD, int(signal.SIGINT), processes=2, scaler=scaler)
        wait_until(lambda: len(running.pids()) == 2)
        scaler.dispensable = wait_until(lambda: len(scaler.pids) == 2 and scaler.pids)[1:]
        scaler.wanted = 1
        wait_until(lambda: running.told() == ["SIGTERM"])
        running.signals.send()
        wait_until(lambda: running.told() == ["SIGTERM"] * 3)
        running.signals.send()

        assert running.wait() == 0
        assert sorted(running.told()) == ["SIGINT"] * 2 + ["SIGTERM"] * 3

    def test_one_more_that_cannot_start_harms_nobody(self, run, scaler, monkeypatch):
        monkeypatch.setattr(module.Backoff, "next", lambda self: 0.01)
        running = run(ONE_STAYS, scaler=scaler)
        wait_until(running.pids)
        scaler.wanted = 2

        wait_until(lambda: len(running.pids()) >= 3)
        assert running.code is None
        running.signals.send()
        assert running.wait() in {0, 1}


#: The first process stays until it is told to stop; others cannot start.
ONE_STAYS = """
import os, pathlib, sys, threading
folder = pathlib.Path(sys.argv[1])
(folder / str(os.getpid())).touch()
try:
    (folder / "first").touch(exist_ok=False)
except FileExistsError:
    sys.exit(1)
threading.Event().wait()
"""
