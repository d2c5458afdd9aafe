"""Registries: published, put into force, forgotten; the rows of the one in force."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from django_river import storage
from django_river.models import PeriodicJob, PeriodicRegistry
from django_river.storage.periodic import (
    JobOutcome,
    PeriodicAdvance,
    PeriodicRow,
    PeriodicState,
    PeriodicTake,
)
from tests.factories import ClientFactory, JobFactory

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
SOME_TIME = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def periodic(using, any_store):
    return storage.for_periodic(using, any_store.session)


def row(name="a", **given):
    return PeriodicRow(
        **{
            "name": name, "kind": "shop.work", "schedule": "every 1 min", "entry": "{}", "fingerprint": "f",
            "next_run_at": timezone.now() + MINUTE, **given,
        }
    )  # fmt: skip


def published():
    return set(PeriodicRegistry.objects.values_list("hash", flat=True))


class TestRegistries:
    def test_are_published_once(self, periodic):
        periodic.registry_publish("h", "1.0", '{"entries":[]}')
        periodic.registry_publish("h", "2.0", '{"entries":[]}')

        registry = PeriodicRegistry.objects.get()
        assert (registry.hash, registry.release, registry.is_in_force) == ("h", "1.0", None)
        assert periodic.registry_entries("h") == '{"entries":[]}'
        assert periodic.registry_entries("other") is None

    def test_come_into_force_one_at_a_time(self, periodic):
        assert periodic.registry_in_force() is None

        for number in (1, 2, 1):
            periodic.registry_publish(f"h{number}", f"{number}.0", "{}")
            periodic.registry_enforce(f"h{number}", f"{number}.5")
            assert periodic.registry_in_force()[:2] == (f"h{number}", f"{number}.5")
        assert abs(periodic.registry_in_force().since - timezone.now()) < MINUTE

    def test_are_forgotten_when_nobody_holds_them(self, periodic):
        ClientFactory(registry_hash="held")
        for hash in ("in force", "held", "old"):
            periodic.registry_publish(hash, "", "{}")
            if hash == "in force":
                periodic.registry_enforce(hash, "")
        periodic.registry_publish("new", "", "{}")

        assert published() == {"in force", "held", "new"}


class TestLiveClients:
    def test_are_those_heard_of_lately(self, periodic):
        now = timezone.now()
        young = ClientFactory(
            registry_hash="h", release="1.0", started_at=now, heartbeat_at=now - 30 * timedelta(seconds=1)
        )
        old = ClientFactory(registry_hash="h", started_at=now - MINUTE)
        ClientFactory(registry_hash="h", stale=True)

        live = periodic.client_list_live(MINUTE)
        assert [client.id for client in live] == [old.id, young.id]
        assert live[1][1:4] == (young.host, young.pid, young.started_at)
        assert live[1][5:] == ("1.0", "h")
        assert 29 < live[1].silent_seconds < 40

    def test_do_not_count_if_they_declare_nothing(self, periodic):
        ClientFactory(registry_hash="")

        assert periodic.client_list_live(MINUTE) == []


class TestRows:
    def test_are_those_of_the_registry_and_no_others(self, periodic):
        periodic.periodic_replace([row("a"), row("b")])
        periodic.periodic_replace([row("b"), row("c", next_run_at=None, entry='{"c":1}')])

        states = periodic.periodic_list_states()
        assert [state.name for state in states] == ["b", "c"]
        assert states[1] == PeriodicState("c", '{"c":1}', None)

    def test_may_be_none(self, periodic):
        periodic.periodic_replace([row()])
        periodic.periodic_replace([])

        assert periodic.periodic_list_states() == []

    def test_keep_what_they_have_been_through(self, periodic):
        periodic.periodic_replace([row(expect_success_within=5.0)])
        lived = {
            "paused_at": timezone.now(), "last_job_id": 5, "last_run_at": timezone.now(), "last_outcome": "completed",
            "last_success_at": timezone.now(), "error": "why",
        }  # fmt: skip
        PeriodicJob.objects.update(**lived)
        since = PeriodicJob.objects.get().expected_since
        later = row(kind="shop.other", schedule="s", entry="{1}", expect_success_within=None)
        periodic.periodic_replace([later])

        job = PeriodicJob.objects.get()
        assert {name: getattr(job, name) for name in lived} == lived
        assert job.expected_since == since
        assert (job.kind, job.schedule, job.entry) == ("shop.other", "s", "{1}")
        assert job.next_run_at == later.next_run_at
        assert job.expect_success_within is None

    def test_count_alarms_from_when_they_are_asked_for(self, periodic):
        periodic.periodic_replace([row(), row("never", next_run_at=None, expect_success_within=5.0)])
        long_ago = timezone.now() - MINUTE
        PeriodicJob.objects.update(expected_since=long_ago, overdue_since=long_ago)
        periodic.periodic_replace([row(expect_success_within=5.0), row("never", expect_success_within=5.0)])

        for job in PeriodicJob.objects.all():
            assert job.expected_since > long_ago
        assert PeriodicJob.objects.get(name="a").overdue_since is None

    def test_keep_an_alarm_that_is_still_asked_for(self, periodic):
        periodic.periodic_replace([row(expect_success_within=5.0)])
        since = timezone.now() - MINUTE
        PeriodicJob.objects.update(overdue_since=since)
        periodic.periodic_replace([row(expect_success_within=5.0)])

        assert PeriodicJob.objects.get().overdue_since == since

    def test_forget_an_alarm_of_an_entry_that_is_switched_off(self, periodic):
        periodic.periodic_replace([row(expect_success_within=5.0)])
        PeriodicJob.objects.update(overdue_since=timezone.now())
        periodic.periodic_replace([row(next_run_at=None, expect_success_within=5.0)])

        assert PeriodicJob.objects.get().overdue_since is None

    def test_forget_an_error_when_the_entry_has_changed(self, periodic):
        periodic.periodic_replace([row()])
        PeriodicJob.objects.update(error="why")
        periodic.periodic_replace([row(fingerprint="g")])

        assert PeriodicJob.objects.get().error == ""

    def test_do_not_forget_a_run_that_was_asked_for(self, periodic):
        asked = timezone.now()
        periodic.periodic_replace([row(extra_run_at=asked)])
        periodic.periodic_replace([row()])

        assert PeriodicJob.objects.get().extra_run_at == asked


class TestTaking:
    @pytest.fixture
    def due(self, periodic):
        periodic.periodic_replace([row("a"), row("b", next_run_at=None, extra_run_at=timezone.now())])
        return {each.name: each for each in periodic.periodic_list_due(HOUR)[1]}

    def take(self, periodic, due, **changes):
        wanted = PeriodicTake(
            name=due.name,
            fingerprint=due.fingerprint,
            next_run_at=due.next_run_at,
            extra_run_at=due.extra_run_at,
        )
        with periodic.atomic():
            return periodic.periodic_take([replace(wanted, **changes)])

    def test_is_of_what_is_as_it_was_seen(self, periodic, due):
        assert self.take(periodic, due["a"]) == [("a", False)]
        assert self.take(periodic, due["b"]) == [("b", False)]

    @pytest.mark.parametrize(
        "change",
        [
            {"name": "other"},
            {"fingerprint": "other"},
            {"next_run_at": SOME_TIME},
            {"next_run_at": None},
            {"extra_run_at": SOME_TIME},
        ],
        ids=str,
    )
    def test_is_of_nothing_that_has_changed(self, periodic, due, change):
        assert self.take(periodic, due["a"], **change) == []

    def test_is_of_nothing_that_is_paused(self, periodic, due):
        assert periodic.periodic_pause("a")
        assert not periodic.periodic_pause("a")

        assert self.take(periodic, due["a"]) == []
        assert [each.name for each in periodic.periodic_list_due(HOUR)[1]] == ["b"]

    def test_says_whether_the_last_run_is_in_the_way(self, periodic, due):
        PeriodicJob.objects.update(last_job_id=JobFactory(running=True).pk)

        assert self.take(periodic, due["a"], may_overlap=False) == [("a", True)]
        assert self.take(periodic, due["a"]) == [("a", False)]

    def test_lets_runs_be_written_down(self, periodic, due):
        at = due["a"].next_run_at
        PeriodicJob.objects.update(error="why", last_job_id=3)
        periodic.periodic_advance_many(
            [
                PeriodicAdvance(name="a", next_run_at=at + MINUTE, last_run_at=at, last_job_id=7),
                PeriodicAdvance(name="b", next_run_at=None),
            ]
        )

        a, b = PeriodicJob.objects.order_by("name")
        assert (a.next_run_at, a.last_run_at, a.last_job_id, a.error) == (at + MINUTE, at, 7, "")
        assert (b.next_run_at, b.extra_run_at, b.last_run_at, b.last_job_id) == (None, None, None, 3)

    def test_finds_what_is_due_soon_and_what_a_clock_has_left_behind(self, periodic, due):
        later = timezone.now() + 5 * HOUR
        PeriodicJob.objects.update(next_run_at=later, extra_run_at=None)
        assert periodic.periodic_list_due(HOUR)[1] == []

        PeriodicJob.objects.filter(name="a").update(last_run_at=later)
        ((name, *_, last_run_at, has_failed),) = periodic.periodic_list_due(HOUR)[1]
        assert (name, last_run_at, has_failed) == ("a", later, False)

    def test_finds_what_has_failed(self, periodic, due):
        periodic.periodic_fail("a", "why")

        assert [each.has_failed for each in sorted(periodic.periodic_list_due(HOUR)[1])] == [True, False]


class TestMoving:
    @pytest.fixture
    def move(self, periodic):
        """Two entries that are due, moved on by an hour; with changes to what is seen of the second."""
        seen = timezone.now() - MINUTE
        periodic.periodic_replace([row("a", next_run_at=seen), row("b", next_run_at=seen)])

        def move(**changes):
            wanted = [
                PeriodicTake(name=name, fingerprint="f", next_run_at=seen, extra_run_at=None) for name in "ba"
            ]
            advances = [
                PeriodicAdvance(name=name, next_run_at=seen + HOUR, last_run_at=seen, last_job_id=7)
                for name in "ba"
            ]
            wanted[1] = replace(wanted[1], **changes)
            with periodic.atomic():
                return periodic.periodic_move_many(wanted, advances)

        move.to = seen + HOUR
        return move

    def test_takes_and_advances_at_once(self, move):
        assert move()
        assert set(PeriodicJob.objects.values_list("next_run_at", "last_job_id")) == {(move.to, 7)}

    def test_says_that_it_was_done_already(self, move):
        move()

        assert not move()

    @pytest.mark.parametrize(
        "change",
        [{"fingerprint": "g"}, {"next_run_at": None}, {"extra_run_at": timezone.now()}, {"name": "c"}],
    )
    def test_says_that_one_is_not_as_it_was_seen(self, move, change):
        assert not move(**change)

    def test_says_that_one_is_paused(self, move):
        PeriodicJob.objects.filter(name="b").update(paused_at=timezone.now())

        assert not move()

    def test_says_that_a_run_is_in_the_way(self, move):
        open_job, finished = JobFactory(), JobFactory(completed=True)
        PeriodicJob.objects.filter(name="a").update(last_job_id=finished.pk)
        assert move(may_overlap=False)

        PeriodicJob.objects.update(next_run_at=move.to - HOUR, last_job_id=open_job.pk)
        assert not move(may_overlap=False)


class TestOutcomes:
    def test_are_those_of_jobs_that_are_there(self, periodic):
        done, running = JobFactory(completed=True), JobFactory(running=True)

        assert sorted(periodic.periodic_list_outcomes([done.pk, running.pk, running.pk + 1])) == [
            (done.pk, "completed", done.finalized_at),
            (running.pk, "running", None),
        ]

    def test_are_written_down_and_never_go_back(self, periodic):
        periodic.periodic_replace([row()])
        now = timezone.now()
        periodic.periodic_note_outcomes(
            {"a": [JobOutcome(2, "discarded", now), JobOutcome(1, "completed", now - MINUTE)]}
        )
        periodic.periodic_note_outcomes({"a": [JobOutcome(0, "completed", now - HOUR)]})

        job = PeriodicJob.objects.get()
        assert (job.last_outcome, job.last_finished_at, job.last_success_at) == (
            "discarded",
            now,
            now - MINUTE,
        )

    def test_may_lack_a_success(self, periodic):
        periodic.periodic_replace([row()])
        periodic.periodic_note_outcomes({"a": [JobOutcome(2, "discarded", timezone.now())]})

        assert PeriodicJob.objects.get().last_success_at is None

    def test_belong_to_entries_that_have_had_a_run(self, periodic):
        periodic.periodic_replace([row("a"), row("b")])
        periodic.periodic_note_run("b", 7)

        assert periodic.periodic_list_watched() == [("b", 7)]
        assert abs(PeriodicJob.objects.get(name="b").last_run_at - timezone.now()) < MINUTE


class TestAlarms:
    @pytest.fixture(autouse=True)
    def rows(self, periodic):
        periodic.periodic_replace([row("a", expect_success_within=60.0), row("b")])
        PeriodicJob.objects.update(expected_since=timezone.now() - HOUR)

    def test_are_raised_once(self, periodic):
        assert periodic.periodic_note_overdue() == [("a", "shop.work", None, 60.0, True)]
        assert periodic.periodic_note_overdue() == []
        assert abs(PeriodicJob.objects.get(name="a").overdue_since - timezone.now()) < MINUTE

    def test_end_with_a_success(self, periodic):
        periodic.periodic_note_overdue()
        now = timezone.now()
        PeriodicJob.objects.update(last_success_at=now)

        assert periodic.periodic_note_overdue() == [("a", "shop.work", now, 60.0, False)]
        assert PeriodicJob.objects.get(name="a").overdue_since is None

    def test_count_from_the_last_success(self, periodic):
        PeriodicJob.objects.update(last_success_at=timezone.now() - 2 * MINUTE)
        assert len(periodic.periodic_note_overdue()) == 1

        PeriodicJob.objects.update(last_success_at=timezone.now() - MINUTE / 2, overdue_since=None)
        assert periodic.periodic_note_overdue() == []

    @pytest.mark.parametrize("change", [{"paused_at": SOME_TIME}, {"next_run_at": None}], ids=str)
    def test_are_not_for_what_does_not_run(self, periodic, change):
        PeriodicJob.objects.update(**change)

        assert periodic.periodic_note_overdue() == []

    def test_begin_anew_with_a_resumption(self, periodic):
        next_run_at = timezone.now() + HOUR
        periodic.periodic_note_overdue()
        periodic.periodic_pause("a")
        PeriodicJob.objects.update(extra_run_at=timezone.now())
        periodic.periodic_resume("a", next_run_at)

        job = PeriodicJob.objects.get(name="a")
        assert (job.paused_at, job.overdue_since, job.extra_run_at) == (None, None, None)
        assert job.next_run_at == next_run_at
        assert periodic.periodic_note_overdue() == []


def test_one_entry_can_be_looked_at(periodic):
    periodic.periodic_replace([row(next_run_at=None)])
    with periodic.atomic():
        assert periodic.periodic_get("a") == ("{}", None, False)
        assert periodic.periodic_get("b") is None


def test_who_settles_waits_for_who_settles(using, store, other_store):
    first, second = (storage.for_periodic(using, each.session) for each in (store, other_store))
    seen, go = [], threading.Event()

    def settle():
        go.wait(10)
        with second.atomic():
            second.registry_lock()
            seen.append(second.registry_in_force())

    thread = threading.Thread(target=settle)
    thread.start()
    with first.atomic():
        first.registry_lock()
        go.set()
        first.registry_publish("h", "", "{}")
        first.registry_enforce("h", "")
    thread.join(20)

    assert seen[0].hash == "h"


def test_the_time_is_the_databases(periodic):
    assert abs(periodic.now() - timezone.now()) < MINUTE
