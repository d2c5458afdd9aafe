"""The results as a picture, for the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

OURS, OTHERS, LIMIT = "#2a6f97", "#b7b7a4", "#333333"
#: The same results make the same file.
STYLE = {"svg.hashsalt": "benchmarks", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}


def draw(results: dict[str, Any], path: Path) -> None:
    """Rates of no-op jobs and latencies, with their ranges."""
    scenarios = results["scenarios"]
    rates = {
        name: figures["jobs/s"]
        for scenario in ("burn-down", "burn-down-two")
        for name, figures in scenarios.get(scenario, {}).get("summary", {}).items()
    }
    latencies = scenarios.get("latency", {}).get("summary", {})
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 6), facecolor="white", layout="constrained")
        above, below = figure.subplots(2)
        _draw_rates(above, rates)
        _draw_latencies(below, latencies)
        figure.savefig(path, format="svg", metadata={"Date": None})
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def _colour(name: str) -> str:
    return OURS if name.startswith("ours") else LIMIT if name.startswith("raw") else OTHERS


def _draw_rates(axes: Axes, rates: dict[str, dict[str, float]]) -> None:
    names = list(rates)
    axes.barh(
        names,
        [rates[name]["median"] for name in names],
        xerr=[
            [rates[name]["median"] - rates[name]["min"] for name in names],
            [rates[name]["max"] - rates[name]["median"] for name in names],
        ],
        color=[_colour(name) for name in names],
    )
    axes.invert_yaxis()
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_title("No-op jobs per second (median, least–most)", loc="left")


def _draw_latencies(axes: Axes, latencies: dict[str, dict[str, dict[str, float]]]) -> None:
    for place, (name, figures) in enumerate(latencies.items()):
        values = [figures[key]["median"] for key in ("p50 ms", "p95 ms", "p99 ms")]
        axes.plot(values, [place] * 3, color=_colour(name), marker="o", linewidth=2)
    axes.set_yticks(range(len(latencies)), list(latencies))
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_title("Milliseconds from commit to start on an idle worker: p50, p95, p99", loc="left")
