"""Runs scenarios: in each round everybody in turn, so that a machine whose speed drifts slows all of them."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import Any

from rich.progress import Progress

from benchmarks.figures import judged, summary
from benchmarks.plan import Figures, Options, Scenario

logger = logging.getLogger(__name__)


def run(scenario: Scenario, options: Options, progress: Progress) -> dict[str, Any]:
    """All rounds of one scenario, as JSON. Who fails is left out from then on, and harms nobody else."""
    plan = scenario.plan(options)
    count = min(options.rounds, scenario.most_rounds)
    task = progress.add_task(scenario.name, total=count * len(plan.contestants))
    rounds: list[dict[str, Figures]] = []
    failed: dict[str, str] = {}
    began = time.perf_counter()
    for number in range(count):
        done: dict[str, Figures] = {}
        for contestant in plan.contestants:
            shown = f"{scenario.name}: {contestant.name} ({number + 1} of {count})"
            progress.update(task, description=shown)
            if contestant.name not in failed:
                try:
                    done[contestant.name] = contestant.run()
                except Exception as error:
                    logger.exception("%s: %s has failed", scenario.name, contestant.name)
                    failed[contestant.name] = f"{type(error).__name__}: {error}"
            progress.advance(task)
        rounds.append(done)
    progress.update(task, description=scenario.name)
    return {
        "name": scenario.name,
        "question": scenario.question,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.perf_counter() - began),
        "jobs": options.jobs,
        "rounds": rounds,
        "summary": summary(rounds),
        "demands": [judged(demand, rounds) for demand in plan.demands],
        "failed": failed,
    }
