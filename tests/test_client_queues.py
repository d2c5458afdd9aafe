"""What is said of queues is applied by every live client, within a second, without a restart."""

from __future__ import annotations

import dataclasses
import threading
import time
from datetime import timedelta

import pytest
from django.db import transaction

from django_river import JobContext, queues
from django_river.client import Client
from django_river.conf import config
from django_river.known_queues import known_queues
from django_river.maintenance import queue_remover, queue_resumer
from django_river.models import Client as ClientRow
from django_river.models import Job, Queue, QueueMinute, QueueRow
from django_river.queue_choice import Choice
from django_river.work import queue_duties
from tests.factories import JobFactory
from tests.shop.jobs import nothing, until_told
from tests.waiting import wait_until
from tests.work.building import registry_of


@pytest.fixture
def run(using, settings, monkeypatch):
    """Builds clients, starts and stops them."""
    monkeypatch.setattr(queue_duties, "RECONCILE_POLLING", 0.05)
    monkeypatch.setattr(queue_duties, "ROWS_POLLING", 0.05)
    monkeypatch.setattr(queue_remover, "INTERVAL", 0.05)
    monkeypatch.setattr(queue_resumer, "INTERVAL", 0.05)
    built = []

    def run(*, registry=None, can_lead=False, choice=None, queues=None, **changes):
        extra = {} if registry is None else {"registry": registry}
        client = Client(
            dataclasses.replace(config(), **changes), can_lead=can_lead, choice=choice, queues=queues, **extra
        )
        built.append(client)
        client.start()
        return client

    yield run
    for client in built:
        client.stop(timeout=0)
    known_queues.__init__()


@pytest.fixture
def flag(tmp_path):
    flag = tmp_path / "running"
    yield flag
    flag.unlink(missing_ok=True)


def in_queue(name, count=1, kind="shop.nothing", **given):
    return [
        JobFactory(available=True, kind=kind, queue=name, args={"number": number}, **given).pk
        for number in range(count)
    ]


def over(pks):
    return Job.objects.filter(pk__in=pks, state="completed").count() == len(pks)


class TestEveryClient:
    @pytest.mark.parametrize("notify", [True, False])
    def test_works_a_queue_that_is_added(self, run, notify):
        clients = [run(notify=notify) for _ in range(2)]
        queues.add("tenant-1", max_workers=3)

        wait_until(lambda: all("tenant-1" in client.producers for client in clients), 3)
        assert {client.producers["tenant-1"].max_workers for client in clients} == {3}
        made = in_queue("tenant-1", 5)
        wait_until(lambda: over(made))

    @pytest.mark.postgres
    def test_hears_of_a_change_in_less_than_a_second(self, run):
        client = run()
        wait_until(lambda: client.notifier.is_listening)
        began = time.monotonic()
        queues.update("default", max_workers=33)
        wait_until(lambda: client.producers["default"].max_workers == 33, 10)

        # Generous: the poll that would find it without the message comes after ten seconds.
        assert time.monotonic() - began < 5

    def test_says_what_it_has_applied(self, run):
        client = run()
        queues.add("tenant-1", max_workers=3)

        wait_until(lambda: queues.get("tenant-1").applied_by == {client.id: 3}, 5)
        assert queues.get("tenant-1").awaited == []
        assert "tenant-1" in ClientRow.objects.get().queues
        assert Queue.objects.filter(name="tenant-1").exists()

    def test_says_it_again_after_a_while(self, run, monkeypatch):
        monkeypatch.setattr(queue_duties, "TOUCH_SECONDS", 0.1)
        monkeypatch.setattr(queue_duties, "ROWS_LISTENING", 0.1)
        client = run()
        wait_until(lambda: ClientRow.objects.get().applied)
        ClientRow.objects.update(applied={})

        wait_until(lambda: sorted(ClientRow.objects.get().applied) == sorted(client.producers), 10)

    def test_comes_up_with_what_was_said_before(self, run):
        queues.add("tenant-1", max_workers=3)
        queues.remove("other")
        client = run()

        assert sorted(client.producers) == ["default", "tenant-1"]

    def test_keeps_jobs_running_through_changes(self, run, flag):
        client = run()
        until_told.enqueue(str(flag))
        wait_until(flag.exists)
        queues.update("default", max_workers=1)
        wait_until(lambda: client.producers["default"].max_workers == 1, 5)
        waiting = in_queue("default", 2)
        queues.update("default", max_workers=3)
        wait_until(lambda: over(waiting))
        flag.unlink()

        wait_until(lambda: not Job.objects.open().exists())
        assert set(Job.objects.values_list("state", "attempt")) == {("completed", 1)}

    def test_works_no_more_slots_than_it_is_left(self, run):
        go_on, now, most = threading.Event(), [0], [0]
        lock = threading.Lock()

        def work(number: int) -> None:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            go_on.wait(0.01)
            with lock:
                now[0] -= 1

        client = run(registry=registry_of(work=work))
        queues.update("default", max_workers=2)
        wait_until(lambda: client.producers["default"].max_workers == 2, 5)
        made = in_queue("default", 40, kind="work")
        client.engine.lookout.hint(["default"])
        wait_until(lambda: over(made))

        assert most[0] <= 2

    def test_has_threads_for_what_is_added(self, run):
        client = run()
        queues.add("tenant-1", max_workers=200)
        wait_until(lambda: client.engine.room.slots == 200, 5)

        assert client.engine.workers.threads.size == 200

    @pytest.mark.postgres
    def test_finds_what_a_lost_message_said(self, run, monkeypatch):
        monkeypatch.setattr(queue_duties, "ROWS_LISTENING", 0.1)
        client = run()
        wait_until(lambda: client.notifier.is_listening)
        QueueRow.objects.create(name="tenant-1", settings={"max_workers": 3})

        wait_until(lambda: "tenant-1" in client.producers, 5)

    @pytest.mark.postgres
    def test_looks_when_it_hears_again(self, run):
        client = run()
        wait_until(lambda: client.notifier.is_listening)
        client.notifier.listener._connection.close()
        QueueRow.objects.create(name="tenant-1", settings={"max_workers": 3})

        wait_until(lambda: "tenant-1" in client.producers, 9)

    def test_resumes_by_the_clock(self, run):
        client = run(can_lead=True)
        queues.pause("default", until=timedelta(seconds=0.5))
        wait_until(lambda: client.producers["default"].is_paused)

        wait_until(lambda: not client.producers["default"].is_paused)

    def test_claims_nothing_from_a_queue_that_was_paused_before_it_came(self, run):
        queues.pause("tenant-1")
        client = run()
        seen = []
        adopt = client.engine.fetcher.adopt
        client.engine.fetcher.adopt = lambda producers, **given: (
            seen.append({name: one.is_paused for name, one in producers.items()}) or adopt(producers, **given)
        )
        queues.add("tenant-1")
        wait_until(lambda: "tenant-1" in client.producers, 5)

        assert {told["tenant-1"] for told in seen if "tenant-1" in told} == {True}

    def test_counts_what_still_runs_when_a_queue_comes_back(self, run, flag):
        client = run(labels={"gpu": "yes"})
        queues.add("tenant-1", max_workers=1)
        until_told.using(queue="tenant-1").enqueue(str(flag))
        wait_until(flag.exists, 10)
        queues.update("tenant-1", on={"gpu": "no"})
        wait_until(lambda: "tenant-1" not in client.producers, 5)
        queues.update("tenant-1", on=queues.INHERIT)
        wait_until(lambda: "tenant-1" in client.producers, 5)

        assert client.producers["tenant-1"].running == 1
        assert not client.producers["tenant-1"].is_closed
        flag.unlink()
        wait_until(lambda: not Job.objects.open().exists())

    def test_is_not_harmed_by_what_another_release_has_said(self, run):
        QueueRow.objects.create(name="tenant-1", settings={"colour": "red", "max_workers": 3})

        assert run().producers["tenant-1"].max_workers == 3


class TestRemoval:
    def test_lets_the_last_jobs_run(self, run):
        client = run(can_lead=True)
        queues.add("tenant-1")
        made = in_queue("tenant-1", 20)
        done = queues.remove("tenant-1", timeout=20)

        assert done.is_done
        assert over(made)
        wait_until(lambda: "tenant-1" not in client.producers, 5)

    @pytest.mark.parametrize("how", ["delete", "move"])
    def test_claims_no_more_and_lets_run_what_runs(self, run, flag, how):
        client = run(can_lead=True)
        queues.add("tenant-1", max_workers=1)
        until_told.using(queue="tenant-1").enqueue(str(flag))
        wait_until(flag.exists, 10)
        waiting = in_queue("tenant-1", 3)
        queues.remove("tenant-1", jobs=how, **({"to": "default"} if how == "move" else {}))
        wait_until(lambda: client.producers["tenant-1"].is_retired, 5)
        flag.unlink()

        wait_until(lambda: "tenant-1" not in client.producers, 10)
        wait_until(lambda: not Job.objects.open().exists())
        assert Job.objects.filter(state="completed").count() == (4 if how == "move" else 1)
        assert not Job.objects.filter(pk__in=waiting, queue="tenant-1").exists()

    @pytest.mark.parametrize("how", ["drain", "delete", "move"])
    def test_looks_after_what_comes_late(self, run, how):
        client = run(can_lead=True)
        queues.add("tenant-1")
        queues.remove("tenant-1", jobs=how, **({"to": "default"} if how == "move" else {}))
        wait_until(lambda: "tenant-1" not in client.producers, 5)
        in_queue("tenant-1", 2)

        wait_until(lambda: not Job.objects.open().exists(), 20)
        assert Job.objects.filter(state="completed").count() == (0 if how == "delete" else 2)

    def test_of_a_queue_of_the_settings_holds_until_it_is_added_again(self, run):
        client = run(can_lead=True)
        queues.remove("other", timeout=10)
        wait_until(lambda: "other" not in client.producers, 5)
        queues.add("other")

        wait_until(lambda: "other" in client.producers, 5)


class TestChoice:
    def test_by_labels(self, run):
        with_gpu, without = run(labels={"gpu": "yes"}), run()
        queues.add("pictures", on={"gpu": "yes"})
        queues.add("texts")

        wait_until(lambda: "texts" in without.producers and "texts" in with_gpu.producers, 5)
        assert "pictures" in with_gpu.producers
        assert "pictures" not in without.producers
        queues.update("pictures", on=queues.INHERIT)
        wait_until(lambda: "pictures" in without.producers, 5)

    def test_by_names_and_patterns(self, run):
        tenants = run(choice=Choice(only=["tenant-*"], exclude=["tenant-9"]), queues={})
        others = run(choice=Choice(exclude=["tenant-*"]))
        for name in ("tenant-1", "tenant-9", "texts"):
            queues.add(name)

        wait_until(lambda: "texts" in others.producers and tenants.producers, 5)
        assert sorted(tenants.producers) == ["tenant-1"]
        assert sorted(others.producers) == ["default", "other", "texts"]

    def test_by_patterns_of_the_settings_finds_queues_by_their_jobs(self, run, settings):
        settings.DJANGO_RIVER = {"QUEUES": {"default": {}, "tenant-*": {"MAX_WORKERS": 2}}}
        client = run()
        job = nothing.using(queue="tenant-5").enqueue()

        wait_until(lambda: over([job.pk]), 10)
        assert client.producers["tenant-5"].max_workers == 2


class TestLeaderOnly:
    def test_queue_that_is_added_is_worked_by_the_leader(self, run):
        leader, follower = run(can_lead=True, leader_ttl=3.0), run(can_lead=False)
        wait_until(lambda: leader.elector.is_leader)
        queues.add("tenant-1", leader_only=True)
        wait_until(lambda: "tenant-1" in leader.producers and "tenant-1" in follower.producers, 5)
        made = in_queue("tenant-1", 3)

        wait_until(lambda: over(made))
        assert follower.producers["tenant-1"].term is None


class TestTimeout:
    def test_of_the_queue_holds_for_jobs_without_one(self, run):
        def work(context, number: int = 0) -> None:
            for _ in range(1000):
                context.raise_if_cancelled()
                threading.Event().wait(0.01)

        work.__annotations__["context"] = JobContext
        run(registry=registry_of(work=work), stuck_after=0.1)
        queues.add("tenant-1", timeout=0.05)
        (pk,) = in_queue("tenant-1", kind="work")

        wait_until(lambda: Job.objects.get(pk=pk).errors, 10)
        assert "timeout" in Job.objects.get(pk=pk).errors[0]["error"]


def test_many_queues_are_added_to_a_running_client(run):
    client = run()
    with transaction.atomic():
        for number in range(300):
            queues.add(f"tenant-{number}", max_workers=2)

    wait_until(lambda: len(client.producers) == 302, 10)
    made = [pk for number in range(0, 300, 30) for pk in in_queue(f"tenant-{number}")]
    wait_until(lambda: over(made))


class TestScaling:
    def test_follows_what_waits(self, run, monkeypatch):
        monkeypatch.setattr(queue_duties, "SCALE_SECONDS", 0.05)
        go_on = threading.Event()

        def work(number: int) -> None:
            go_on.wait(20)

        client = run(registry=registry_of(work=work))
        queues.add("tenant-1", autoscale={"MIN": 1, "MAX": 8, "TARGET_LATENCY": 0.2})
        wait_until(lambda: "tenant-1" in client.producers, 5)
        assert client.producers["tenant-1"].max_workers == 1
        in_queue("tenant-1", 20, kind="work")

        wait_until(lambda: client.producers["tenant-1"].running == 8, 10)
        go_on.set()
        wait_until(lambda: not Job.objects.open().exists())


def test_figures_are_written_down(run, monkeypatch):
    monkeypatch.setattr(queue_duties, "FIGURES_SECONDS", 0.05)
    run()
    made = in_queue("default", 5) + in_queue("default", 2, kind="shop.unknown")

    wait_until(lambda: sum(row.completed for row in QueueMinute.objects.all()) == 5, 10)
    wait_until(lambda: sum(row.failed for row in QueueMinute.objects.all()) >= 2, 10)
    assert len(made) == 7


def test_what_was_counted_last_is_written_down_at_the_end(run, monkeypatch):
    monkeypatch.setattr(queue_duties, "FIGURES_SECONDS", 3600.0)
    client = run()
    made = in_queue("default", 5)
    wait_until(lambda: over(made), 10)
    client.stop(timeout=5)

    assert sum(row.completed for row in QueueMinute.objects.all()) == 5


def test_clients_that_come_and_go_while_queues_do_lose_no_job(run):
    """Each is stopped wherever it stands: at its start, in a claim, between two changes."""
    made = []
    for number in range(12):
        client = run()
        queues.add(f"tenant-{number}", max_workers=2)
        made += in_queue(f"tenant-{number}", 10) + in_queue(f"tenant-{number // 2}", 10)
        if number % 4 == 3:
            queues.remove(f"tenant-{number - 3}", jobs="move", to=f"tenant-{number}")
        if number % 3 == 2:
            wait_until(lambda: Job.objects.filter(state="completed").exists())
        client.stop(timeout=0 if number % 2 else 1)
    last = run(can_lead=True)
    wait_until(lambda: over(made), 30)

    assert set(Job.objects.values_list("attempt", flat=True)) == {1}
    assert set(ClientRow.objects.values_list("id", flat=True)) == {last.id}
