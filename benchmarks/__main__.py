"""The command line: pairs of runs in turn, medians with their range, and the ratio pair by pair."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable
from functools import partial

import django
from django.core.management import call_command
from django.db import connection
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

Run = Callable[[], float]


def main() -> None:
    """Run all pairs and print the table; ``--json`` prints it for programs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--jobs", type=int, default=50_000, help="jobs per burn-down and bulk run")
    parser.add_argument("--singles", type=int, default=2_000, help="jobs per run of single inserts")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, in turn")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    django.setup()
    if connection.vendor != "postgresql":
        sys.exit("DATABASE_URL must name a Postgres database made for this: its jobs are deleted.")
    call_command("migrate", verbosity=0)
    console = Console(stderr=options.json)
    with Progress(console=console) as progress:
        rows = [measure(name, ours, raw, options.rounds, progress) for name, ours, raw in pairs(options)]
    if options.json:
        print(json.dumps({"machine": machine(), "results": rows}, indent=2))
    else:
        console.print(table(rows))
        console.print(machine())


def pairs(options: argparse.Namespace) -> list[tuple[str, Run, Run]]:
    """What is measured, and the raw limit beside it."""
    from benchmarks import runs

    raw = partial(runs.raw_burn_down, options.jobs)
    return [
        ("burn-down, sync", partial(runs.burn_down, options.jobs), raw),
        ("burn-down, async", partial(runs.burn_down, options.jobs, is_async=True), raw),
        (
            "bulk enqueue / COPY",
            partial(runs.bulk_enqueue, options.jobs),
            partial(runs.raw_copy, options.jobs),
        ),
        (
            "single enqueue / INSERT",
            partial(runs.single_enqueue, options.singles),
            partial(runs.raw_insert, options.singles),
        ),
    ]


def measure(name: str, ours: Run, raw: Run, rounds: int, progress: Progress) -> dict[str, object]:
    """Both in turn, so that a machine whose speed drifts slows both."""
    task = progress.add_task(name, total=rounds)
    taken: list[tuple[float, float]] = []
    for _ in range(rounds):
        taken.append((ours(), raw()))
        progress.advance(task)
    mine, limits = zip(*taken, strict=True)
    return {
        "what": name,
        "ours": spread(mine),
        "raw": spread(limits),
        "ratio": spread([a / b for a, b in taken]),
    }


def spread(values: list[float] | tuple[float, ...]) -> dict[str, float]:
    """Median with its range."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def table(rows: list[dict[str, object]]) -> Table:
    """For people."""
    shown = Table("what", "ours, per second", "raw limit, per second", "ratio")
    for row in rows:
        shown.add_row(str(row["what"]), *(figures(row[key], key) for key in ("ours", "raw", "ratio")))
    return shown


def figures(value: object, key: str) -> str:
    """``median (min–max)``."""
    assert isinstance(value, dict)
    form = "{:.2f}" if key == "ratio" else "{:,.0f}"
    return "{} ({}–{})".format(*(form.format(value[part]) for part in ("median", "min", "max")))


def machine() -> str:
    """What it ran on."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT version()")
        server = cursor.fetchone()[0].split(" on ")[0]
    python = platform.python_version()
    return f"Python {python}, Django {django.__version__}, {server}, {os.cpu_count()} processors"


main()
