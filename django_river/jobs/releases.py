"""Which of two releases is the higher one: versions, dates, build numbers, and what ``git describe`` says."""

from __future__ import annotations

import re
from typing import NamedTuple

_DESCRIBED = re.compile(r"-(?P<commits>[0-9]+)-g[0-9a-f]{4,40}\Z")
_RELEASE = re.compile(
    r"(?P<prefix>[^0-9]*)(?P<numbers>[0-9]+(?:[._-][0-9]+)*)"
    r"(?:[._-]?(?P<stage>dev|alpha|a|beta|b|rc|c|pre|post)[._-]?(?P<count>[0-9]*))?\Z"
)
_FINAL = 4
_STAGES = {"dev": 0, "alpha": 1, "a": 1, "beta": 2, "b": 2, "rc": 3, "c": 3, "pre": 3, "post": 5}


class _Release(NamedTuple):
    prefix: str
    numbers: tuple[int, ...]
    stage: int
    stage_number: int
    commits: int


def compare(ours: str, theirs: str) -> int | None:
    """1 if ours is higher, -1 if it is lower, 0 if they are the same release; ``None`` if nobody can tell.

    >>> compare("v1.10", "v1.9"), compare("1.2-3-gdeadbee", "1.2"), compare("2.0rc1", "2.0")
    (1, 1, -1)
    >>> compare("deadbee", "1.2") is None
    True
    """
    if not (ours and theirs):
        # Whoever begins to declare releases is ahead of those who have not begun.
        return bool(ours) - bool(theirs)
    if ours == theirs:
        return 0
    left, right = _parsed(ours), _parsed(theirs)
    if left is None or right is None or left.prefix != right.prefix:
        return None
    return (left > right) - (left < right)


def _parsed(text: str) -> _Release | None:
    text = text.strip().lower().partition("+")[0].removesuffix("-dirty")
    described = _DESCRIBED.search(text)
    if described:
        text = text[: described.start()]
    found = _RELEASE.match(text)
    if found is None:
        return None
    numbers = [int(number) for number in re.split("[._-]", found["numbers"])]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return _Release(
        prefix=found["prefix"].removesuffix("v"),
        numbers=tuple(numbers),
        stage=_STAGES[found["stage"]] if found["stage"] else _FINAL,
        stage_number=int(found["count"] or 0),
        commits=int(described["commits"]) if described else 0,
    )
