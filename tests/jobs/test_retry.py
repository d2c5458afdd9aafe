"""Policies say when a failed job runs again, and no answer of theirs can do harm."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_river import DefaultRetry, ExponentialRetry, Failure, FixedRetry, NoRetry, RetryOn
from django_river.jobs.retry import MAX_DELAY, retry_delay

YEAR = MAX_DELAY.total_seconds()
counts = st.integers(1, 10**9)


def failure(errors: int = 1, exception: BaseException | None = None) -> Failure:
    return Failure("shop.send", errors, 25, errors, exception or ValueError())


def seconds(policy, errors: int = 1) -> float:
    return retry_delay(policy, failure(errors)).total_seconds()


class TestDefaultRetry:
    @given(counts)
    def test_is_the_fourth_power_give_or_take_a_tenth(self, errors):
        expected = errors**4

        assert min(0.9 * expected, 0.9 * YEAR) <= seconds(DefaultRetry(), errors) <= min(1.1 * expected, YEAR)

    def test_varies(self):
        assert len({seconds(DefaultRetry(), 5) for _ in range(20)}) > 1


class TestFixedRetry:
    def test_is_always_the_same(self):
        assert [seconds(FixedRetry(5), errors) for errors in (1, 9)] == [5, 5]

    @given(st.floats(0, 1e300), st.floats(0, 1))
    def test_varies_within_its_jitter(self, fixed, jitter):
        fixed_seconds = seconds(FixedRetry(fixed, jitter=jitter))

        low, high = min(fixed, YEAR) * (1 - jitter), min(fixed, YEAR) * (1 + jitter)
        assert low - 1e-5 <= fixed_seconds <= min(high + 1e-5, YEAR)


class TestExponentialRetry:
    def test_grows_by_its_factor(self):
        policy = ExponentialRetry(first=3, factor=2, longest=20, jitter=0)

        assert [seconds(policy, errors) for errors in (1, 2, 3, 4, 5)] == [3, 6, 12, 20, 20]

    @given(counts, st.floats(0.001, 1e6), st.floats(1, 1e6) | st.integers(1, 10**6), st.floats(0, 1e9))
    def test_never_grows_beyond_its_longest(self, errors, first, factor, longest):
        if isinstance(factor, int):
            errors = min(errors, 10_000)

        assert (
            0
            <= seconds(ExponentialRetry(first, factor, longest, jitter=0), errors)
            <= min(longest, YEAR) + 1e-6
        )


class TestRetryOn:
    policy = RetryOn({OSError: FixedRetry(1), ConnectionError: FixedRetry(2), KeyError: NoRetry()})

    @pytest.mark.parametrize(
        ("exception", "expected"), [(OSError(), 1), (ConnectionResetError(), 2), (TimeoutError(), 1)]
    )
    def test_takes_the_nearest_class(self, exception, expected):
        assert retry_delay(self.policy, failure(exception=exception)) == timedelta(seconds=expected)

    def test_may_say_never(self):
        assert retry_delay(self.policy, failure(exception=KeyError())) is None

    def test_takes_another_policy_for_all_others(self):
        policy = RetryOn({}, otherwise=FixedRetry(7))

        assert retry_delay(policy, failure()) == timedelta(seconds=7)
        assert 0.9 <= retry_delay(self.policy, failure()).total_seconds() <= 1.1


class TestAnswer:
    @pytest.mark.parametrize(
        ("answer", "delay"),
        [
            (None, None),
            (0, timedelta(0)),
            (2.5, timedelta(seconds=2.5)),
            (timedelta(minutes=1), timedelta(minutes=1)),
            (-5, timedelta(0)),
            (timedelta(-1), timedelta(0)),
            (float("inf"), MAX_DELAY),
            (float("-inf"), timedelta(0)),
            (10**400, MAX_DELAY),
            (timedelta.max, MAX_DELAY),
        ],
        ids=repr,
    )
    def test_is_kept_in_bounds(self, answer, delay):
        assert retry_delay(lambda failure: answer, failure()) == delay

    @pytest.mark.parametrize("answer", ["5", True, [1], object()])
    def test_of_another_type_is_refused(self, answer):
        with pytest.raises(TypeError, match="a retry policy must return a timedelta, seconds or None, got "):
            retry_delay(lambda failure: answer, failure())

    def test_that_is_no_number_is_refused(self):
        with pytest.raises(ValueError, match=r"a retry policy must return .*, got nan"):
            retry_delay(lambda failure: float("nan"), failure())

    def test_may_depend_on_everything_known(self):
        seen = []

        retry_delay(seen.append, failure(3))

        assert (seen[0].kind, seen[0].attempt, seen[0].max_attempts, seen[0].errors) == (
            "shop.send",
            3,
            25,
            3,
        )
