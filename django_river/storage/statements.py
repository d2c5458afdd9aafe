"""Loads the named statements of a driver's ``.sql`` files, once."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from types import MappingProxyType

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def load(package: str) -> MappingProxyType[str, str]:
    """All statements of a package's ``.sql`` files by name: each begins with a line ``-- name: job_fetch``."""
    statements: dict[str, str] = {}
    for file in sorted(files(package).iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".sql"):
            continue
        _, *pieces = _NAME.split(file.read_text(encoding="utf-8"))
        for name, text in zip(pieces[::2], pieces[1::2], strict=True):
            if name in statements:
                raise ValueError(f"statement {name!r} stands twice in {package}")
            statements[name] = _without_comments(text)
    return MappingProxyType(statements)


def _without_comments(text: str) -> str:
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return "\n".join(lines).strip().rstrip(";")
