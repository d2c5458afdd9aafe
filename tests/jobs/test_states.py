"""River's eight states, their bits, and the ways between them."""

from __future__ import annotations

import pytest

from django_river.jobs.states import FINAL, OPEN, TRANSITIONS, State, bit_mask
from django_river.jobs.unique import DEFAULT_STATES


def test_bits_are_those_of_river():
    assert {state.value: state.bit for state in State} == {
        "available": 1, "cancelled": 2, "completed": 4, "discarded": 8,
        "pending": 16, "retryable": 32, "running": 64, "scheduled": 128,
    }  # fmt: skip
    assert bit_mask(DEFAULT_STATES) == 245
    assert bit_mask(set()) == 0
    assert bit_mask(set(State)) == 255


def test_a_state_is_final_or_open():
    assert {"cancelled", "completed", "discarded"} == FINAL
    assert frozenset(State) == FINAL | OPEN
    assert [state for state in State if state.is_final] == sorted(FINAL)


@pytest.mark.parametrize("state", State)
def test_every_state_can_be_reached_and_left(state):
    assert any(after is state for _, after in TRANSITIONS)
    assert any(before is state for before, _ in TRANSITIONS)


def test_only_running_jobs_end_well_and_only_waiting_ones_begin():
    assert {before for before, after in TRANSITIONS if after is State.COMPLETED} == {State.RUNNING}
    assert {before for before, after in TRANSITIONS if after is State.RUNNING} == {State.AVAILABLE}
    assert (State.RUNNING, None) not in TRANSITIONS
