"""Puts results into the documentation: ``python -m benchmarks.publish benchmarks/results.json``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks import report

DOCS = Path(__file__).parents[1] / "docs"
BEGIN, END = "<!-- results: written by python -m benchmarks -->", "<!-- end of results -->"


def publish(results: dict[str, Any], *, docs: Path = DOCS) -> None:
    """Replace the table and the plot of the page on performance."""
    from benchmarks import plot

    page = docs / "performance.md"
    page.write_text(replaced(page.read_text(encoding="utf-8"), report.markdown(results)), encoding="utf-8")
    plot.draw(results, docs / "performance.svg")


def replaced(text: str, results: str) -> str:
    """The text with other results between its marks."""
    between = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not between.search(text):
        raise ValueError(f"the page has no place for results: {BEGIN} … {END}")
    return between.sub(lambda _: f"{BEGIN}\n\n{results}\n{END}", text)


if __name__ == "__main__":
    publish(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
