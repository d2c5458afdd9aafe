"""Figures of queues: what waits, from the table; what went through, from what clients wrote down."""

from __future__ import annotations

import json
import math
import sys
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from django_river import queues, storage
from django_river.histogram import Histogram, decoded, encoded, percentile, place, reach
from django_river.management import watching
from django_river.models import QueueMinute
from django_river.queue_report import report
from django_river.storage.queues import MinuteFigures
from django_river.work.queue_figures import QueueFigures
from tests.factories import ClientFactory, JobFactory, QueueFactory


class TestHistogram:
    @given(st.lists(st.floats(0.001, 1_000_000), min_size=1, max_size=50), st.floats(0.01, 1.0))
    def test_tells_percentiles_to_within_a_quarter(self, spans, part):
        counts = Histogram(map(place, spans))
        exact = sorted(spans)[max(0, math.ceil(part * len(spans)) - 1)]

        told = percentile(counts, part)
        assert 0.999 * min(exact, reach(96)) <= told <= 1.26 * exact

    def test_of_nothing_has_none(self):
        assert percentile({}, 0.5) is None

    def test_goes_into_json_and_back(self):
        counts = Histogram([0, 3, 3, 96])

        assert decoded(json.dumps(encoded(counts))) == counts

    @pytest.mark.parametrize("span", [-1.0, 0.0, 0.001, 1e12])
    def test_has_a_place_for_everything(self, span):
        assert 0 <= place(span) <= 96


class TestWriting:
    @pytest.fixture
    def store(self, using):
        return storage.for_caller(using)

    def test_counts_what_has_ended(self, store):
        figures = QueueFigures("me")
        figures.ends.extend([("a", False, 0.5, 2.0), ("a", True, 0.5, 2.0), ("b", False, 0.0, 0.0)])

        assert figures.write(store) == 2
        a, b = QueueMinute.objects.order_by("queue")
        assert (a.queue, a.client_id, a.completed, a.failed) == ("a", "me", 1, 1)
        assert a.waits == {str(place(0.5)): 2}
        assert (b.completed, b.runs) == (1, {"0": 1})

    def test_adds_up_within_a_minute(self, store, monkeypatch):
        minute = store.queue_minute()
        monkeypatch.setattr(type(store), "queue_minute", lambda self: minute)
        figures = QueueFigures("me")
        for _ in range(3):
            figures.ends.append(("a", False, 0.5, 2.0))
            figures.write(store)

        assert QueueMinute.objects.get().completed == 3

    def test_begins_anew_with_the_next_minute_and_forgets_old_ones(self, store, monkeypatch):
        minute = store.queue_minute()
        figures = QueueFigures("me")
        for at in (minute - timedelta(hours=2), minute):
            monkeypatch.setattr(type(store), "queue_minute", lambda self, at=at: at)
            figures.ends.append(("a", False, 0.5, 2.0))
            figures.write(store)

        assert QueueMinute.objects.get().completed == 1

    def test_of_nothing_writes_nothing(self, store):
        assert QueueFigures("me").write(store) == 0
        assert not QueueMinute.objects.exists()


def seen(store, queue, *, completed, failed, client_id="me", ago=timedelta(0)):
    minute = store.queue_minute() - ago
    figures = MinuteFigures(
        queue, completed, failed, Histogram({place(0.5): 9, place(4.0): 1}), Histogram({0: 1})
    )
    store.queue_minute_put(minute, client_id, [figures])


@pytest.mark.django_db
class TestReport:
    def test_tells_how_a_queue_is_doing(self):
        store = storage.for_caller("default")
        for state in ("available", "available", "running", "scheduled", "retryable", "completed"):
            JobFactory(state=state, queue="default")
        seen(store, "default", completed=150, failed=50)
        seen(store, "default", completed=150, failed=50, client_id="you")
        seen(store, "default", completed=999, failed=0, ago=timedelta(minutes=10))
        ClientFactory(id="here_1", applied={"default": {"slots": 7, "version": ""}})

        (found,) = report("default", ["default"])

        assert (found.available, found.running, found.scheduled, found.retryable) == (2, 1, 1, 1)
        assert (found.available_is_exact, found.later_is_exact, found.state) == (True, True, "active")
        assert 55 < found.oldest_seconds < 120
        assert (found.per_second, found.failure_rate) == (1.0, 0.25)
        assert 0.5 <= found.waits.p50 <= 0.63
        assert 4 <= found.waits.p99 <= 5
        assert found.slots == {"here_1": 7}

    def test_of_one_reads_what_was_seen_of_one(self):
        store = storage.for_caller("default")
        for name in ("default", "other"):
            seen(store, name, completed=300, failed=0)

        people = storage.for_people("default")
        assert set(people.queue_minutes(timedelta(minutes=5), ["other", "none"])) == {"other"}
        assert set(people.queue_minutes(timedelta(minutes=5))) == {"default", "other"}

    def test_tells_of_all_queues_and_of_those_that_do_nothing(self):
        QueueFactory(name="idle", paused=True)
        queues.add("tenant-1")

        found = {one.name: one for one in report("default")}

        assert list(found) == ["default", "idle", "other", "tenant-1"]
        assert (found["idle"].state, found["idle"].per_second, found["idle"].failure_rate) == (
            "paused",
            0.0,
            None,
        )
        assert found["idle"].waits.p50 is None

    def test_counts_no_further_than_it_may(self, monkeypatch):
        monkeypatch.setattr("django_river.queue_report.MOST_COUNTED", 0)
        monkeypatch.setattr("django_river.queue_report.LEAST_COUNTED", 3)
        JobFactory.create_batch(5, available=True)

        found = {one.name: one for one in report("default")}["default"]

        assert (found.available, found.available_is_exact) == (3, False)

    def test_is_printed_by_the_command(self):
        JobFactory(available=True, scheduled_at=timezone.now() - timedelta(seconds=5))
        seen(storage.for_caller("default"), "default", completed=300, failed=0)
        out = StringIO()
        call_command("river_queues", "list", "--figures", stdout=out)

        assert out.getvalue().splitlines()[1].split()[:3] == ["default", "active", "1"]
        out = StringIO()
        call_command("river_queues", "list", "default", "--figures", "--json", stdout=out)
        assert json.loads(out.getvalue())[0]["per_second"] == 1.0

    def test_is_drawn_anew_while_it_is_watched(self, monkeypatch, capsys):
        monkeypatch.setattr(watching, "SECONDS", 0.0)
        JobFactory.create_batch(4, available=True)
        watching.watch(lambda: report("default"), rounds=2)

        assert "default" in capsys.readouterr().out

    def test_shows_the_busiest_where_not_all_fit(self):
        for number in range(6):
            queues.add(f"tenant-{number}")
            JobFactory.create_batch(number, available=True, queue=f"tenant-{number}")
        found = report("default")

        assert watching.busiest(found, 8) == found
        assert [one.name for one in watching.busiest(found, 3)] == ["tenant-3", "tenant-4", "tenant-5"]
        assert [one.name for one in watching.busiest(found, -4)] == ["tenant-5"]

    def test_is_watched_with_rich_only(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "rich.live", None)

        with pytest.raises(CommandError, match="--watch needs the package rich"):
            call_command("river_queues", "list", "--watch")
