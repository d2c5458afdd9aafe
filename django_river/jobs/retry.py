"""When a failed job runs again: policies, pure and replaceable.

A policy is any callable that takes a :class:`Failure` and returns the time to wait, or ``None`` for "not again".

    @job(retry=RetryOn({ConnectionError: FixedRetry(5), PermissionError: NoRetry()}))
    def call_api(order_id: int) -> None: ...
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from django_river.chance import chance

#: No retry is put off longer than this, whatever a policy says.
MAX_DELAY = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Failure:
    """What a policy may look at."""

    kind: str
    attempt: int
    max_attempts: int
    #: Failed attempts so far, this one included. Snoozes do not count.
    errors: int
    exception: BaseException


RetryPolicy = Callable[[Failure], "timedelta | float | None"]


@dataclass(frozen=True, slots=True)
class DefaultRetry:
    """River's: n⁴ seconds ± 10 % after n errors (1 s, 16 s, 81 s, 256 s …)."""

    def __call__(self, failure: Failure) -> timedelta:
        return _jittered(float(failure.errors) ** 4, 0.1)


@dataclass(frozen=True, slots=True)
class FixedRetry:
    """Always the same number of seconds."""

    seconds: float
    jitter: float = 0.0

    def __call__(self, failure: Failure) -> timedelta:
        return _jittered(self.seconds, self.jitter)


@dataclass(frozen=True, slots=True)
class ExponentialRetry:
    """``first`` seconds, then ``factor`` times as long each time, at most ``longest`` seconds."""

    first: float = 1.0
    factor: float = 2.0
    longest: float = 3600.0
    jitter: float = 0.1

    def __call__(self, failure: Failure) -> timedelta:
        try:
            seconds = self.first * self.factor ** (failure.errors - 1)
        except OverflowError:
            seconds = self.longest
        return _jittered(min(seconds, self.longest), self.jitter)


@dataclass(frozen=True, slots=True)
class NoRetry:
    """Never again: the job is discarded at once."""

    def __call__(self, failure: Failure) -> None:
        return None


@dataclass(frozen=True, slots=True)
class RetryOn:
    """A policy per exception class; the nearest base of the exception that is named decides."""

    rules: Mapping[type[BaseException], RetryPolicy]
    otherwise: RetryPolicy = field(default_factory=DefaultRetry)

    def __call__(self, failure: Failure) -> timedelta | float | None:
        for cls in type(failure.exception).__mro__:
            if cls in self.rules:
                return self.rules[cls](failure)
        return self.otherwise(failure)


def retry_delay(policy: RetryPolicy, failure: Failure) -> timedelta | None:
    """Ask a policy, and keep its answer between zero and :data:`MAX_DELAY`.

    Raises :class:`TypeError` or :class:`ValueError` for an answer that is no span of time.
    """
    answer = policy(failure)
    if answer is None:
        return None
    if isinstance(answer, bool) or not isinstance(answer, timedelta | int | float):
        raise TypeError(f"a retry policy must return a timedelta, seconds or None, got {answer!r}")
    if not isinstance(answer, timedelta):
        if _is_nan(answer):
            raise ValueError(f"a retry policy must return a timedelta, seconds or None, got {answer!r}")
        answer = timedelta(seconds=min(max(answer, 0.0), MAX_DELAY.total_seconds()))
    return min(max(answer, timedelta(0)), MAX_DELAY)


def _jittered(seconds: float, jitter: float) -> timedelta:
    seconds = min(seconds, MAX_DELAY.total_seconds())
    return timedelta(seconds=seconds * chance.uniform(1 - jitter, 1 + jitter))


def _is_nan(value: object) -> bool:
    return isinstance(value, float) and math.isnan(value)
