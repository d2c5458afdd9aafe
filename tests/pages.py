"""Reading ``docs/``: blocks of code, tables, sections."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[1] / "docs"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CELL = re.compile(r"(?<!\\)\|")


class Block(NamedTuple):
    """A fenced block: its language, and what stands in it."""

    language: str
    text: str

    @property
    def first_line(self) -> str:
        return self.text.partition("\n")[0]


@cache
def text_of(page: str) -> str:
    """A page's source."""
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


def pages() -> list[str]:
    """The names of all pages, and of the one that stands before them."""
    return ["../README", *sorted(str(p.relative_to(DOCS).with_suffix("")) for p in DOCS.glob("**/*.md"))]


def blocks(page: str, *languages: str) -> list[Block]:
    """The blocks in these languages, in order; without any, all blocks."""
    found = [Block(*match.groups()) for match in _BLOCK.finditer(text_of(page))]
    return [block for block in found if not languages or block.language in languages]


def table(page: str, first: str, *, number: int = 0) -> list[list[str]]:
    """The rows of a table, found by the heading of its first column; without that heading."""
    lines = text_of(page).splitlines()
    heads = [at for at, line in enumerate(lines) if line.startswith(f"| {first} |")]
    rows = []
    for line in lines[heads[number] + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("\\|", "|") for cell in _CELL.split(line)[1:-1]])
    return rows


def column(page: str, first: str, *, number: int = 0) -> list[str]:
    """The first column of a table, as code is marked in it: ``\\`a\\`, \\`b\\``` is two."""
    return [name for row in table(page, first, number=number) for name in re.findall(r"`([^`]+)`", row[0])]
