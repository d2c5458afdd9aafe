"""The peers, seen from here: an environment made when first needed, a database, and their programs."""

from __future__ import annotations

import json
import os
import sys
import venv
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from benchmarks import database, processes
from benchmarks.accounting import Cost, Watch
from benchmarks.peers import PACKAGES

ENVIRONMENTS = Path(__file__).parent / ".environments"


class Peer:
    """One peer. What it needs is installed and set up when it is first used, so that a failure is its own."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.module = f"benchmarks.peers.{name.replace('-', '_')}"

    @cached_property
    def python(self) -> str:
        """The interpreter of its environment, which is kept for the next time."""
        version = "{}.{}".format(*sys.version_info)
        folder = ENVIRONMENTS / f"{self.name}-{version}"
        python, done = folder / "bin" / "python", folder / "installed"
        packages = PACKAGES[self.name]
        if not done.exists() or done.read_text() != repr(packages):
            venv.create(folder, with_pip=True, clear=True)
            command = [str(python), "-m", "pip", "install", "--quiet", "--upgrade", *packages]
            processes.run(command, self._environ)
            done.write_text(repr(packages))
        return str(python)

    @cached_property
    def url(self) -> str:
        """Its database, made anew with its tables."""
        url = database.create(self.name.replace("-", "_"))
        processes.run(self._command("setup", url), self._environ)
        return url

    @property
    def version(self) -> str:
        """As installed."""
        code = f"from importlib.metadata import version; print(version({self.name!r}))"
        return processes.run([self.python, "-c", code], self._environ).strip()

    def renew(self) -> None:
        """Begin with empty tables."""
        self.__dict__.pop("url", None)

    def fill(self, count: int, *, queues: int = 1) -> float:
        """Jobs stored per second by its bulk call."""
        return count / float(self._call("fill", count=count, queues=queues))

    def burn_down(self, count: int, *, workers: int = 1, queues: int = 1) -> dict[str, float]:
        """Jobs per second from when the first to when the last began: what it still has to write is not counted."""
        self.renew()
        self.fill(count, queues=queues)
        with Cost(self.url) as cost:
            command = self._command("burst", self.url, queues=queues)
            running = [self._start(command) for _ in range(workers)]
            with Watch(running[0].pid, self.url) as watch:
                answers = [_answer_of(process) for process in running]
        firsts, lasts, counts = zip(*(answer for answer in answers if answer[2]), strict=True)
        if sum(counts) != count:
            raise RuntimeError(f"{sum(counts)} of {count} jobs were worked")
        return {
            "jobs/s": count / (max(lasts) - min(firsts)),
            **cost.figures(count),
            "connections": watch.connections,
            "RSS MB": watch.rss_mb,
        }

    def serving(self, marks: Path, *, queues: int = 1) -> AbstractContextManager[Popen[str]]:
        """A worker that notes when jobs began."""
        return processes.running(self._command("serve", self.url, marks=marks, queues=queues), self._environ)

    def probe(self, count: int, pause: float) -> list[float]:
        """Enqueue one by one; the moments at which the calls returned."""
        returned: list[float] = self._call("probe", count=count, pause=pause)
        return returned

    @property
    def _environ(self) -> dict[str, str]:
        # Its own environment: nothing of ours must be found in it, and nothing of it be configured by ours.
        left_out = ("PYTHONPATH", "DJANGO_SETTINGS_MODULE", "VIRTUAL_ENV")
        return {name: value for name, value in os.environ.items() if name not in left_out}

    def _command(self, verb: str, url: str, **options: object) -> list[str]:
        given = [f"--{name}={value}" for name, value in options.items()]
        return [self.python, "-m", self.module, verb, f"--url={url}", *given]

    def _call(self, verb: str, **options: object) -> Any:
        printed = processes.run(self._command(verb, self.url, **options), self._environ)
        return json.loads(printed.splitlines()[-1])

    def _start(self, command: list[str]) -> Popen[str]:
        return Popen(command, cwd=processes.ROOT, env=self._environ, stdout=PIPE, stderr=PIPE, text=True)


def _answer_of(process: Popen[str]) -> list[Any]:
    printed, complained = process.communicate(timeout=processes.TIMEOUT)
    if process.returncode:
        raise RuntimeError(f"ended with {process.returncode}: {' / '.join(complained.splitlines()[-3:])}")
    answer: list[Any] = json.loads(printed.splitlines()[-1])
    return answer
