"""Processes that are measured: our workers, and the programs of this suite."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import database

ROOT = Path(__file__).parents[1]
RUNWORKERS = [sys.executable, "-m", "django", "runworkers", "--verbosity=0"]
#: A run that takes longer has failed.
TIMEOUT = 900


def environ_with(**more: object) -> dict[str, str]:
    """The environment of our own processes."""
    ours = {"DJANGO_SETTINGS_MODULE": "benchmarks.settings", "DATABASE_URL": database.url()}
    return os.environ | ours | {f"BENCHMARK_{name.upper()}": str(value) for name, value in more.items()}


def burst(*arguments: str, **environ: object) -> None:
    """Work until nothing is due."""
    run([*RUNWORKERS, "--burst", *arguments], environ_with(**environ))


def run(command: list[str], environ: Mapping[str, str]) -> str:
    """What a program prints; an error with what it complained about if it fails."""
    done = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise RuntimeError(f"{' '.join(command[-4:])} ended with {done.returncode}: {' / '.join(last)}")
    return done.stdout


@contextmanager
def running(command: list[str], environ: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A program, until the block ends."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def children_cpu() -> float:
    """Seconds that the processes which we have waited for have spent."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def program(verb: str, **options: object) -> list[str]:
    """The command of one of our programs."""
    return [
        sys.executable,
        "-m",
        "benchmarks.programs",
        verb,
        *(f"--{name}={v}" for name, v in options.items()),
    ]


def answer(printed: str) -> Any:
    """What a program has found out."""
    return json.loads(printed.splitlines()[-1])
