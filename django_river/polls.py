"""What an idle worker asks the database every second: once, by whoever asks it something every second anyway."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple


class Poll(NamedTuple):
    """The lookout's question, which queues have jobs, for others to take along.

    >>> poll = NO_POLL
    >>> if poll.is_wanted():
    ...     poll.answer(["default"])
    """

    #: Whether to ask now.
    is_wanted: Callable[[], bool]
    #: Told the queues that have jobs; from any thread.
    answer: Callable[[Collection[str]], None]


NO_POLL = Poll(is_wanted=lambda: False, answer=lambda queues: None)
