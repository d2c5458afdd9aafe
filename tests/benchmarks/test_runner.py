"""Everybody runs in turn, and who fails harms nobody else."""

from __future__ import annotations

from functools import partial

import pytest
from rich.progress import Progress

from benchmarks import runner
from benchmarks.plan import Contestant, Demand, Options, Plan, Scenario


@pytest.fixture
def ran() -> list[str]:
    return []


def run(plan: Plan, **options: int):
    scenario = Scenario(name="race", question="Who?", plan=lambda _: plan, most_rounds=options.pop("most", 9))
    with Progress(disable=True) as progress:
        return runner.run(scenario, Options(**options), progress)


def works(ran: list[str], name: str) -> Contestant:
    def note() -> dict[str, float]:
        ran.append(name)
        return {"jobs/s": len(ran)}

    return Contestant(name, note)


def fails(ran: list[str], name: str) -> Contestant:
    def note() -> dict[str, float]:
        ran.append(name)
        raise OSError("no such queue")

    return Contestant(name, note)


def test_all_run_in_turn(ran):
    result = run(Plan([works(ran, "a"), works(ran, "b")]), rounds=3)

    assert "".join(ran) == "ababab"
    assert result["rounds"][1] == {"a": {"jobs/s": 3}, "b": {"jobs/s": 4}}
    assert result["summary"]["b"]["jobs/s"] == {"median": 4, "min": 2, "max": 6}


def test_who_fails_is_named_and_left_out(ran, caplog):
    demand = partial(Demand, figure="jobs/s")
    plan = Plan(
        [fails(ran, "a"), works(ran, "b")],
        [demand(text="b to a", of="b", over="a"), demand(text="b", of="b", at_least=1)],
    )

    result = run(plan, rounds=2)

    assert "".join(ran) == "abb"
    assert result["failed"] == {"a": "OSError: no such queue"}
    assert ["median" in verdict for verdict in result["demands"]] == [False, True]
    assert "race: a has failed" in caplog.text


def test_a_long_scenario_has_fewer_rounds(ran):
    assert len(run(Plan([works(ran, "a")]), rounds=5, most=2)["rounds"]) == 2
