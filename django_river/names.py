"""The rules for names that other River clients must be able to read (PROTOCOL 4)."""

from __future__ import annotations

import re

_KIND = re.compile(r"\w[\w\-\[\]<>/.·:+]{0,126}\Z")
_QUEUE = re.compile(r"[a-z0-9]+(?:[_\-|][a-z0-9]+)*\Z")
_PATTERN = re.compile(r"[a-z0-9_\-|*?]+\Z")
_TAG = re.compile(r"[\w\-]{1,255}\Z")

MAX_QUEUE_LENGTH = 64


def kind_problem(kind: object) -> str | None:
    """Say why this cannot be a kind, or return ``None``."""
    if not isinstance(kind, str) or not _KIND.match(kind):
        return f"kind must be 1 to 127 word characters or any of -[]<>/.·:+ and start with a word character, got {kind!r}"
    return None


def periodic_problem(name: object) -> str | None:
    """Say why this cannot be the name of a periodic job, or return ``None``."""
    if not isinstance(name, str) or not _KIND.match(name):
        return f"name must be 1 to 127 word characters or any of -[]<>/.·:+ and start with a word character, got {name!r}"
    return None


def queue_problem(queue: object) -> str | None:
    """Say why this cannot be a queue's name, or return ``None``."""
    if not isinstance(queue, str) or len(queue) > MAX_QUEUE_LENGTH or not _QUEUE.match(queue):
        return (
            f"queue must be lower-case letters and digits, parts joined by '_', '-' or '|', "
            f"at most {MAX_QUEUE_LENGTH} characters, got {queue!r}"
        )
    return None


def queue_pattern_problem(pattern: object) -> str | None:
    """Say why this can be neither a queue's name nor a pattern of names, or return ``None``."""
    if isinstance(pattern, str) and ("*" in pattern or "?" in pattern):
        if _PATTERN.match(pattern) and len(pattern) <= MAX_QUEUE_LENGTH:
            return None
        return (
            f"a pattern of queues must be lower-case letters, digits and any of _-|*?, "
            f"at most {MAX_QUEUE_LENGTH} characters, got {pattern!r}"
        )
    return queue_problem(pattern)


def tag_problem(tag: object) -> str | None:
    """Say why this cannot be a tag, or return ``None``."""
    if not isinstance(tag, str) or not _TAG.match(tag):
        return f"a tag must be 1 to 255 word characters or hyphens, got {tag!r}"
    return None
