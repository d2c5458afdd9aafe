"""The registry as one value: the same text and hash wherever the same is declared."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from django_river.enqueue import JobFunction
from django_river.exceptions import DefinitionError
from django_river.jobs.definition import JobOptions
from django_river.jobs.periodic import Declaration, Declarations
from django_river.jobs.periodic_registry import Flaw, PeriodicRegistry, resolve
from tests.conftest import ROOT

HOUR = timedelta(hours=1)


def report(day: date = date(2026, 1, 1), tags: set[str] = frozenset(), share: float = 0.5) -> None: ...


def declare(**options):
    return Declaration(
        **{
            "job": JobFunction(report, kind="shop.report", options=JobOptions(queue="reports", priority=2)),
            "every": HOUR,
            "place": "shop.jobs.report",
            **options,
        }
    )


def build(*declarations, timezone="UTC"):
    return PeriodicRegistry.build(declarations, timezone=timezone, max_args_bytes=1000)


def canonical(**options):
    (entry,) = build(declare(**options)).canonical
    return dict(entry)


class TestCanonicalForm:
    def test_has_what_an_entry_leaves_to_others(self):
        assert canonical() == {
            "name": "shop.report",
            "job": "shop.report",
            "every": 3600,
            "args": {"day": "2026-01-01", "share": 0.5, "tags": []},
            "queue": "reports",
            "priority": 2,
        }

    def test_leaves_out_what_is_at_its_default(self):
        assert canonical(on_missed="skip", overlap=True, enabled=True, max_catch_up=7) == canonical()

    def test_has_all_that_is_not(self):
        told = canonical(
            name="n",
            args={"tags": {"b", "a", "ä"}},
            queue="other",
            priority=1,
            on_missed="all",
            max_catch_up=7,
            overlap=False,
            run_on_start=True,
            jitter=1.5,
            start_at=datetime(2026, 1, 1, 2, tzinfo=timezone(2 * HOUR)),
            enabled=False,
            expect_success_within=timedelta(days=1),
        )

        assert told == {
            "name": "n",
            "job": "shop.report",
            "every": 3600,
            "args": {"day": "2026-01-01", "share": 0.5, "tags": ["a", "b", "ä"]},
            "queue": "other",
            "priority": 1,
            "on_missed": "all",
            "max_catch_up": 7,
            "overlap": False,
            "run_on_start": True,
            "jitter": 1.5,
            "start_at": "2026-01-01T00:00:00+00:00",
            "enabled": False,
            "expect_success_within": 86400,
        }

    def test_has_the_zone_of_a_clock(self):
        plain = {"every": None, "cron": "0  3 * * *"}

        assert build(declare(**plain), timezone="Asia/Tokyo").canonical == [
            canonical(**plain, timezone="Asia/Tokyo")
        ]
        assert canonical(every=None, cron="TZ=Asia/Tokyo 0 3 * * *") == canonical(
            **plain, timezone="Asia/Tokyo"
        )

    def test_is_sorted_and_versioned(self):
        text = build(declare(name="b"), declare(name="a")).canonical_json

        assert text.startswith('{"entries":[{"args":{"day":"2026-01-01","share":0.5,"tags":[]},"every":3600,')
        assert text.endswith('"version":1}')
        assert [entry["name"] for entry in json.loads(text)["entries"]] == ["a", "b"]


class TestHash:
    #: Known, so that no version of Python or of ours can change it unseen.
    KNOWN = "b5e7c753"

    def test_is_the_same_for_the_same(self):
        assert (
            build(declare(name="a"), declare(name="b")).hash
            == build(declare(name="b"), declare(name="a")).hash
        )

    @pytest.mark.parametrize(
        "change",
        [
            {"name": "other"}, {"every": 2 * HOUR}, {"every": None, "cron": "@hourly"}, {"args": {"share": 0.25}},
            {"queue": "default"}, {"priority": 1}, {"on_missed": "once"}, {"overlap": False}, {"run_on_start": True},
            {"jitter": 1}, {"start_at": datetime(2026, 1, 1, tzinfo=UTC)}, {"enabled": False},
            {"expect_success_within": HOUR},
        ],
        ids=str,
    )  # fmt: skip
    def test_is_another_for_every_change(self, change):
        assert build(declare(**change)).hash != build(declare()).hash

    def test_of_an_entry_is_not_touched_by_others(self):
        alone, beside = build(declare()), build(declare(), declare(name="b"))

        assert alone.entries["shop.report"].fingerprint == beside.entries["shop.report"].fingerprint
        assert alone.hash != beside.hash

    def test_does_not_depend_on_the_process(self):
        code = (
            "from tests.jobs.test_periodic_registry import build, declare\n"
            "print(build(declare(args={'tags': {'b', 'a', 'c', 'ä'}, 'share': 1e16}), declare(name='é')).hash)"
        )
        hashes = {
            subprocess.run(
                [sys.executable, "-c", code],
                cwd=ROOT,
                env=os.environ | {"PYTHONHASHSEED": str(seed)},
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
            for seed in range(3)
        }

        assert [found[:8] for found in hashes] == [self.KNOWN]


class TestProblems:
    def found(self, *declarations, items=()):
        return resolve(declarations, items, timezone="UTC", max_args_bytes=1000)

    def test_a_name_is_there_once(self):
        entries, (problem,) = self.found(
            declare(place="a.jobs.x"), declare(name="other"), declare(place="b.jobs.y", every=2 * HOUR)
        )

        assert problem.flaw is Flaw.DUPLICATE
        assert problem.text == "Periodic job 'shop.report' is declared 2 times: a.jobs.x and b.jobs.y."
        assert len(entries) == 3

    def test_arguments_fit_the_job(self):
        _, (problem,) = self.found(declare(name="n", args={"share": "half"}))

        assert problem.flaw is Flaw.ARGUMENTS
        assert problem.place == "shop.jobs.report"
        assert problem.text == (
            "Periodic job 'n': args cannot be used: shop.report: argument 'share': expected float, got str, came str ('half')."
        )

    def test_items_of_the_setting_are_read(self):
        _, (problem,) = self.found(items=[{"job": "a.b", "every": -1}])

        assert problem.flaw is Flaw.DECLARATION
        assert problem.place == "DJANGO_RIVER['PERIODIC'][0]"
        assert problem.text.startswith(
            "DJANGO_RIVER['PERIODIC'][0]: every must be a timedelta or seconds above 0"
        )

    def test_what_is_declared_by_importing_a_job_of_the_setting_is_found(self, monkeypatch, tmp_path):
        """At once: else the hash would depend on what has been imported before."""
        declared = Declarations()
        monkeypatch.setattr("django_river.jobs.periodic.declared", declared)
        monkeypatch.syspath_prepend(tmp_path)
        (tmp_path / "declares_on_import.py").write_text(
            "from tests.jobs.test_periodic_registry import report\n"
            "from django_river.enqueue import JobFunction\n"
            "from django_river.jobs.definition import JobOptions\n"
            "from django_river.jobs.periodic import periodic\n"
            "nightly = periodic(every=60)(JobFunction(report, kind='nightly', options=JobOptions()))\n"
        )
        entries, problems = resolve(
            declared,
            [{"name": "besides", "job": "declares_on_import.nightly", "every": 1}],
            timezone="UTC",
            max_args_bytes=1000,
        )

        assert problems == []
        assert sorted(entry.name for entry in entries) == ["besides", "nightly"]

    def test_one_wrong_declaration_leaves_the_others(self):
        entries, problems = self.found(declare(), items=[5, {"job": "nowhere.x", "every": 1}])

        assert [entry.name for entry in entries] == ["shop.report"]
        assert [problem.flaw for problem in problems] == [Flaw.DECLARATION, Flaw.DECLARATION]

    def test_are_told_together_when_a_registry_is_built(self):
        with pytest.raises(
            DefinitionError, match=re.escape("[0]: must be a dict, got 1.\nDJANGO_RIVER['PERIODIC'][1]")
        ):
            PeriodicRegistry.build([], [1, 2], timezone="UTC", max_args_bytes=1000)
