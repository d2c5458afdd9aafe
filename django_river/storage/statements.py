"""Loads the named statements of a driver's ``.sql`` files, once."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from types import MappingProxyType

_NAME = re.compile(r"^-- (name|fragment): (\w+)$", re.MULTILINE)
_WORDS = {"name": "statement", "fragment": "fragment"}
_INCLUDE = re.compile(r"^ *-- include: (\w+)$", re.MULTILINE)


@cache
def load(package: str) -> MappingProxyType[str, str]:
    """All statements of a package's ``.sql`` files by name: each begins with a line ``-- name: job_fetch``.

    What several share begins with ``-- fragment: claimed_by_us``, and stands where a line says ``-- include: claimed_by_us``.
    """
    found: dict[str, dict[str, str]] = {"name": {}, "fragment": {}}
    for file in sorted(files(package).iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".sql"):
            continue
        _, *pieces = _NAME.split(file.read_text(encoding="utf-8"))
        for sort, name, text in zip(pieces[::3], pieces[1::3], pieces[2::3], strict=True):
            if name in found[sort]:
                raise ValueError(f"{_WORDS[sort]} {name!r} stands twice in {package}")
            found[sort][name] = text
    fragments = {name: _without_comments(text) for name, text in found["fragment"].items()}
    return MappingProxyType(
        {
            name: _without_comments(_INCLUDE.sub(lambda line: fragments[line[1]], text))
            for name, text in found["name"].items()
        }
    )


def _without_comments(text: str) -> str:
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return "\n".join(lines).strip().rstrip(";")
