"""The results for people: a table on the screen, the same in Markdown, and what stands in the documentation."""

from __future__ import annotations

from typing import Any

from rich.table import Table

Results = dict[str, Any]

SIGNS = {True: "yes", False: "no", None: "–"}


def number(value: float) -> str:
    """With as many digits as mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def spread_text(spread: Results) -> str:
    """``median (min–max)``."""
    return f"{number(spread['median'])} ({number(spread['min'])}–{number(spread['max'])})"


def limit_text(demand: Results) -> str:
    """What is asked."""
    if demand["at_least"] is not None:
        return f"≥ {number(demand['at_least'])}"
    return "" if demand["at_most"] is None else f"≤ {number(demand['at_most'])}"


def figure_rows(results: Results) -> list[list[str]]:
    """Scenario, contestant, what it has shown."""
    return [
        [name, contestant, figure, spread_text(spread)]
        for name, scenario in results["scenarios"].items()
        for contestant, figures in scenario["summary"].items()
        for figure, spread in figures.items()
    ] + [
        [name, contestant, "failed", error]
        for name, scenario in results["scenarios"].items()
        for contestant, error in scenario["failed"].items()
    ]


def demand_rows(results: Results) -> list[list[str]]:
    """Scenario, what is asked, what it came to, whether that is enough."""
    return [
        [
            name,
            demand["text"],
            limit_text(demand),
            spread_text(demand) if "median" in demand else "not measured",
            SIGNS[demand.get("is_reached")],
        ]
        for name, scenario in results["scenarios"].items()
        for demand in scenario["demands"]
    ]


DEMAND_HEAD = ["scenario", "what", "asked", "median (min–max)", "reached"]
FIGURE_HEAD = ["scenario", "who", "what", "median (min–max)"]


def tables(results: Results) -> list[Table]:
    """For the screen."""
    made = []
    for title, head, rows in (
        ("Figures", FIGURE_HEAD, figure_rows(results)),
        ("Demands", DEMAND_HEAD, demand_rows(results)),
    ):
        shown = Table(*head, title=title, title_justify="left")
        before = ""
        for row in rows:
            if row[0] != before:
                shown.add_section()
            before = row[0]
            shown.add_row(*row)
        made.append(shown)
    return made


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """For pages."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def markdown(results: Results) -> str:
    """Both tables, and what they were measured on."""
    machine = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    rounds = {len(scenario["rounds"]) for scenario in results["scenarios"].values()}
    span = "–".join(str(count) for count in sorted({min(rounds, default=0), max(rounds, default=0)}))
    return "\n\n".join(
        [
            f"Median (least–most) of {span} rounds. {machine}.",
            markdown_table(DEMAND_HEAD, demand_rows(results)),
            markdown_table(FIGURE_HEAD, figure_rows(results)),
            "",
        ]
    )
