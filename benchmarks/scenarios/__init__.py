"""All questions, in the order in which they are asked. One file is one question or two that belong together."""

from benchmarks.plan import Scenario
from benchmarks.scenarios import burn_down, enqueuing

SCENARIOS: tuple[Scenario, ...] = (
    *burn_down.SCENARIOS,
    *enqueuing.SCENARIOS,
)
