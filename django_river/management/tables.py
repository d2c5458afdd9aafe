"""Tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def section(title: str, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A title, and below it columns as wide as they need to be.

    >>> list(section("Runs", [("a", "10"), ("bcd", "2")]))
    ['Runs', '  a    10', '  bcd  2']
    """
    table = list(rows) or [("none",)]
    widths = [max(len(cell) for cell in column) for column in zip(*table, strict=True)]
    yield title
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"  {'  '.join(cells)}".rstrip()
