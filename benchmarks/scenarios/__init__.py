"""All questions, in the order in which they are asked. One file is one question, or two that belong together."""

from benchmarks.plan import Scenario
from benchmarks.scenarios import (
    batches,
    burn_down,
    changing_queues,
    cleaning,
    enqueuing,
    failover,
    idle,
    latency,
    limits,
    live_digest,
    many_queues,
    old_age,
    orm,
    periodic,
    scaling,
    scheduling,
    sleeping,
    sqlite,
)

SCENARIOS: tuple[Scenario, ...] = (
    *burn_down.SCENARIOS,
    *sleeping.SCENARIOS,
    *orm.SCENARIOS,
    *batches.SCENARIOS,
    *enqueuing.SCENARIOS,
    *latency.SCENARIOS,
    *scheduling.SCENARIOS,
    *idle.SCENARIOS,
    *periodic.SCENARIOS,
    *many_queues.SCENARIOS,
    *changing_queues.SCENARIOS,
    *limits.SCENARIOS,
    *scaling.SCENARIOS,
    *failover.SCENARIOS,
    *live_digest.SCENARIOS,
    *old_age.SCENARIOS,
    *cleaning.SCENARIOS,
    *sqlite.SCENARIOS,
)
