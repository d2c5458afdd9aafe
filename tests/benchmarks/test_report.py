"""What people read: numbers, tables, the page, the picture."""

from __future__ import annotations

import pytest

from benchmarks import publish, report
from benchmarks.publish import BEGIN, END
from tests.pages import DOCS


def spread(low: float, median: float, high: float) -> dict[str, float]:
    return {"median": median, "min": low, "max": high}


@pytest.fixture
def results():
    noop = {"ours": {"jobs/s": spread(30_000, 31_000, 32_500)}, "raw | limit": {"jobs/s": spread(1, 2, 3)}}
    latency = {"ours": {f"p{part} ms": spread(1, 1.5, 2) for part in (50, 95, 99)}}
    common = {
        "question": "How?",
        "measured_at": "2026-11-21T12:00:00+00:00",
        "rounds": [{}] * 5,
        "demands": [],
    }
    demand = {"text": "of the limit", "at_least": 0.65, "at_most": None, **spread(0.6, 0.7, 0.8)}
    return {
        "machine": {"server": "PostgreSQL", "processors": "2"},
        "scenarios": {
            "burn-down": common
            | {
                "summary": noop,
                "demands": [demand | {"is_reached": True}],
                "failed": {"chancy": "OSError: away"},
            },
            "latency": common | {"summary": latency, "failed": {}},
        },
    }


@pytest.mark.parametrize(
    ("value", "text"), [(31234.5, "31,234"), (99.94, "99.9"), (1.234, "1.23"), (0, "0.00"), (-250, "-250")]
)
def test_numbers_have_the_digits_that_mean_something(value, text):
    assert report.number(value) == text


def test_the_table_of_demands_says_what_was_reached(results):
    assert report.demand_rows(results) == [["burn-down", "of the limit", "≥ 0.65", "0.70 (0.60–0.80)", "yes"]]


def test_what_was_not_measured_is_not_called_reached(results):
    results["scenarios"]["burn-down"]["demands"] = [{"text": "x", "at_least": None, "at_most": 3}]

    assert report.demand_rows(results) == [["burn-down", "x", "≤ 3.00", "not measured", "–"]]


def test_the_figures_name_who_failed(results):
    rows = report.figure_rows(results)

    assert ["burn-down", "ours", "jobs/s", "31,000 (30,000–32,500)"] in rows
    assert ["burn-down", "chancy", "failed", "OSError: away"] in rows


def test_markdown_has_a_section_for_each_scenario(results):
    text = report.markdown(results)

    assert "Measured with server PostgreSQL, processors 2." in text
    assert "### burn-down\n\nHow? 5 rounds on 2026-11-21." in text
    assert "| raw \\| limit | 2.00 (1.00–3.00) |" in text
    assert "chancy failed: OSError: away" in text


def test_publishing_replaces_table_and_plot(results, tmp_path):
    page = tmp_path / "performance.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")

    for _ in range(2):
        publish.publish(results, docs=tmp_path)
    text, drawn = page.read_text(), (tmp_path / "performance.svg").read_text()

    assert text.startswith(f"before\n\n{BEGIN}\n\nMeasured")
    assert text.endswith(f"{END}\n\nafter\n")
    assert "old" not in text
    assert drawn.startswith("<?xml")
    publish.publish(results, docs=tmp_path)
    assert (tmp_path / "performance.svg").read_text() == drawn


def test_a_page_without_a_place_is_left_alone(results, tmp_path):
    page = tmp_path / "performance.md"
    page.write_text("nothing\n")

    with pytest.raises(ValueError, match="no place for results"):
        publish.publish(results, docs=tmp_path)

    assert page.read_text() == "nothing\n"


def test_the_documentation_has_its_place():
    text = (DOCS / "performance.md").read_text()

    assert text.index(BEGIN) < text.index(END)
