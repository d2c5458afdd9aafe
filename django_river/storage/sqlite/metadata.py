"""Metadata on SQLite: merged in Python, since SQLite's own functions would merge deeply and drop nulls."""

from __future__ import annotations

import msgspec

_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])


def merged(before: str, given: bytes) -> str:
    """Metadata with other keys put over its own, every value to the letter as it was."""
    try:
        values = _objects.decode(before)
    except msgspec.ValidationError:
        values = {}
    return msgspec.json.encode(values | _objects.decode(given)).decode()
