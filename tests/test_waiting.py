"""Waiting in tests."""

from __future__ import annotations

import pytest

from tests.waiting import wait_until


def test_returns_the_first_true_answer():
    answers = iter([0, "", "yes", "more"])

    assert wait_until(lambda: next(answers)) == "yes"


def test_fails_with_the_last_answer():
    def is_ready():
        return False

    with pytest.raises(AssertionError, match=r"is_ready stayed False for 0\.02 s"):
        wait_until(is_ready, 0.02)


def test_fails_with_the_message():
    with pytest.raises(AssertionError, match="nobody came for 0 s"):
        wait_until(lambda: None, 0, message="nobody came")
