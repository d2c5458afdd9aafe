"""The command line: chooses scenarios, runs them, shows and keeps the results."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import django
from django.db import connection
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from benchmarks.peers import PACKAGES
from benchmarks.plan import Options, Scenario

QUICK_JOBS = 300


def main() -> None:
    """Run what was chosen; exit code 1 if somebody failed to run."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    arguments = parser().parse_args()
    if arguments.list:
        return show_list()
    if arguments.docs and not arguments.json:
        sys.exit("--docs shows all that the file of --json has: name one.")
    django.setup()
    from benchmarks import database

    chosen = choose(arguments.only, arguments.skip)
    if connection.vendor != "postgresql":
        sys.exit("DATABASE_URL must name a Postgres database made for this: it is emptied.")
    database.take(may_empty=arguments.empty)
    console = Console(stderr=True)
    results = measure(chosen, options_of(arguments), console, arguments.json)
    sys.exit(show(results, arguments, console))


def parser() -> argparse.ArgumentParser:
    """All options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument("--list", action="store_true", help="say which scenarios there are")
    made.add_argument("--only", type=names, default=(), help="these scenarios: a,b")
    made.add_argument("--skip", type=names, default=(), help="all but these: a,b")
    made.add_argument("--peers", type=names, default=("all",), help="all (default), none, or names: a,b")
    made.add_argument("--jobs", type=int, help="jobs of a burn-down (100,000); the rest in proportion")
    made.add_argument("--rounds", type=int, help="how often each runs (5)")
    made.add_argument("--quick", action="store_true", help="one round of few jobs: shows that all works")
    made.add_argument("--json", type=Path, help="keep the results here, beside those of other scenarios")
    made.add_argument("--markdown", type=Path, help="write the tables here")
    made.add_argument("--docs", action="store_true", help="put table and plot into docs/; needs --json")
    made.add_argument("--empty", action="store_true", help="the database may be emptied though it has tables")
    return made


def names(text: str) -> tuple[str, ...]:
    """``a,b`` as a tuple."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def choose(only: tuple[str, ...], skip: tuple[str, ...]) -> list[Scenario]:
    """The scenarios that were named, or all."""
    from benchmarks.scenarios import SCENARIOS

    known = {scenario.name: scenario for scenario in SCENARIOS}
    for name in (*only, *skip):
        if name not in known:
            sys.exit(f"There is no scenario {name!r}; there are {', '.join(known)}.")
    return [known[name] for name in known if name in (only or known) and name not in skip]


def options_of(arguments: argparse.Namespace) -> Options:
    """What was chosen, checked."""
    chosen = arguments.peers
    peers = () if chosen == ("none",) else tuple(PACKAGES) if chosen == ("all",) else chosen
    for name in peers:
        if name not in PACKAGES:
            sys.exit(f"There is no peer {name!r}; there are {', '.join(PACKAGES)}.")
    jobs = arguments.jobs or (QUICK_JOBS if arguments.quick else Options().jobs)
    rounds = arguments.rounds or (1 if arguments.quick else Options().rounds)
    return Options(jobs=jobs, rounds=rounds, peers=peers)


def measure(chosen: list[Scenario], options: Options, console: Console, path: Path | None) -> dict[str, Any]:
    """Run all that was chosen; what is done is kept at once, whatever becomes of the rest."""
    from benchmarks import runner

    results: dict[str, Any] = {"machine": machine(options.peers), "scenarios": {}}
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for scenario in chosen:
            results["scenarios"][scenario.name] = runner.run(scenario, options, progress)
            if path is not None:
                keep(results, path)
    return results


def machine(peers: tuple[str, ...]) -> dict[str, str]:
    """What it ran on, and the versions of all that ran."""
    from importlib.metadata import version

    from benchmarks.systems import Peer

    with connection.cursor() as cursor:
        cursor.execute("SELECT split_part(version(), ' on ', 1), current_setting('fsync')")
        server, fsync = cursor.fetchone()
    found = {
        "server": f"{server}, fsync {fsync}",
        "processors": str(os.cpu_count()),
        "Python": platform.python_version(),
        "Django": django.__version__,
        "psycopg": version("psycopg"),
    }
    for name in peers:
        try:
            found[name] = Peer(name).version
        except Exception as error:  # noqa: BLE001  (it may not even be installed)
            found[name] = f"failed: {error}"
    return found


def keep(results: dict[str, Any], path: Path) -> dict[str, Any]:
    """Put the results beside those of other scenarios that the file has."""
    kept = json.loads(path.read_text()) if path.exists() else {"machine": {}, "scenarios": {}}
    kept["machine"] |= results["machine"]
    kept["scenarios"] |= results["scenarios"]
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    return kept


def show(results: dict[str, Any], arguments: argparse.Namespace, console: Console) -> int:
    """Show the results, and write the tables where they were wanted; exit code 1 if somebody failed."""
    from benchmarks import report

    for table in report.tables(results):
        console.print(table)
    console.print(results["machine"])
    shown = keep(results, arguments.json) if arguments.json else results
    if arguments.markdown:
        arguments.markdown.write_text(report.markdown(shown))
    if arguments.docs:
        from benchmarks.publish import publish

        publish(shown)
    return int(any(scenario["failed"] for scenario in results["scenarios"].values()))


def show_list() -> None:
    """The scenarios and their questions."""
    django.setup()
    from benchmarks.scenarios import SCENARIOS

    for scenario in SCENARIOS:
        print(f"{scenario.name:24}{scenario.question}")


main()
