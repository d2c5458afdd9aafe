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
    """All scenarios: what is asked and what it came to, then what everybody has shown."""
    machine = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    rows = [[f"[{row[0]}](#{row[0]})", *row[1:]] for row in demand_rows(results)]
    parts = [f"Measured with {machine}.", markdown_table(DEMAND_HEAD, rows)]
    for name, scenario in results["scenarios"].items():
        parts += [f"### {name}", _about(scenario), _contestants(scenario)]
        parts += [f"{contestant} failed: {error}" for contestant, error in scenario["failed"].items()]
    return "\n\n".join(parts) + "\n"


def _about(scenario: Results) -> str:
    rounds = len(scenario["rounds"])
    day = scenario["measured_at"][:10]
    return f"{scenario['question']} {rounds} {'round' if rounds == 1 else 'rounds'} on {day}."


def _contestants(scenario: Results) -> str:
    """A row for everybody, a column for every figure."""
    shown = scenario["summary"]
    figures = list(dict.fromkeys(figure for found in shown.values() for figure in found))
    rows = [
        [name, *(spread_text(found[figure]) if figure in found else "" for figure in figures)]
        for name, found in shown.items()
    ]
    return markdown_table(["", *figures], rows)
