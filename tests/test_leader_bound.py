"""Queues that only the leader works: claimed in its term, handed over with it."""

from __future__ import annotations

import dataclasses
import threading

import pytest
from django.utils import timezone

from django_river.client import Client
from django_river.conf import config
from django_river.leader_options import LeaderElectionConfig
from django_river.leadership import request_resign
from django_river.models import Job, Leader, LeaderTerm
from django_river.work import queue_duties
from tests.factories import JobFactory, LeaderFactory
from tests.shop import jobs
from tests.shop.models import Run
from tests.waiting import wait_until
from tests.work.building import registry_of


@pytest.fixture
def run(using, settings, monkeypatch):
    """Builds clients with a queue that is the leader's, starts and stops them."""
    monkeypatch.setattr(queue_duties, "RECONCILE_POLLING", 0.05)
    settings.DJANGO_RIVER = {
        "QUEUES": {"default": {}, "bound": {"LEADER_ONLY": True, "MAX_WORKERS": 1}, "other": {}},
        "CANCEL_TIMEOUT": 0.2,
    }
    built = []

    def run(*, can_lead=True, name=None, registry=None, **changes):
        extra = {} if registry is None else {"registry": registry}
        client = Client(
            dataclasses.replace(config(), **{"leader_ttl": 3.0, **changes}),
            can_lead=can_lead,
            client_id=name,
            **extra,
        )
        built.append(client)
        client.start()
        return client

    yield run
    for client in built:
        client.stop(timeout=0)


@pytest.fixture
def flag(tmp_path):
    """Is there while a job runs; without it the job ends."""
    flag = tmp_path / "running"
    yield flag
    flag.unlink(missing_ok=True)


def bound(job):
    return job.using(queue="bound")


def row(job):
    return Job.objects.get(pk=job.pk)


def states(*given):
    return [row(job).state for job in given]


def leads(client):
    return wait_until(lambda: client.elector.is_leader and client.leader_bound.producers[0].term, 20)


def ended_term(client_id):
    LeaderTerm.objects.create(
        client_id=client_id, elected_at=timezone.now(), ended_at=timezone.now(), why="lost"
    )


def test_are_worked_by_the_leader(run):
    run()
    job, other = bound(jobs.record).enqueue(1), jobs.record.enqueue(2)

    wait_until(lambda: states(job, other) == ["completed", "completed"])


def test_are_left_alone_by_everybody_else(run):
    client = run(can_lead=False)
    job, other = bound(jobs.record).enqueue(1), jobs.record.enqueue(2)
    wait_until(lambda: states(other) == ["completed"])
    wait_until(lambda: client.producers["other"].may_have_work is False)

    assert states(job) == ["available"]
    assert not client.has_due_jobs()


def test_do_not_keep_a_burst_going_that_may_not_lead_by_the_settings(run):
    bound(jobs.record).enqueue(1)
    client = run(leader_election=LeaderElectionConfig(candidate=False))

    assert not client.has_due_jobs()


def test_are_left_alone_while_a_client_of_another_language_leads(run):
    LeaderFactory(leader_id="go-1")
    run()
    job, other = bound(jobs.record).enqueue(1), jobs.record.enqueue(2)
    wait_until(lambda: states(other) == ["completed"])

    assert states(job) == ["available"]


def test_of_a_follower_open_when_it_leads(run):
    LeaderFactory(leader_id="go-1")
    run()
    job = bound(jobs.record).enqueue(1)
    Leader.objects.all().delete()

    wait_until(lambda: states(job) == ["completed"])


def test_are_claimed_by_nobody_whose_term_is_over(run, monkeypatch):
    """A leader that was frozen wakes up, and still believes that it leads."""
    client = run(can_lead=True, poll_interval=0.02)
    leads(client)
    monkeypatch.setattr(client.elector, "attempt", lambda: 60.0)
    client.keeper._duties["election"].run = lambda: 60.0
    Leader.objects.all().delete()
    LeaderFactory(leader_id="another")
    job, other = bound(jobs.record).enqueue(1), jobs.record.enqueue(2)
    wait_until(lambda: states(other) == ["completed"])
    wait_until(lambda: not client.producers["bound"].may_have_work)

    assert client.elector.is_leader
    assert states(job) == ["available"]


class TestTakeOver:
    def lost(self, **given):
        """A job that a leader was running when it was killed."""
        ended_term("gone")
        return JobFactory(
            **{
                "running": True, "queue": "bound", "client_id": "gone", "kind": "shop.record", "args": {"number": 1},
                **given,
            }
        )  # fmt: skip

    def test_runs_again_what_a_killed_leader_was_running(self, run, caplog):
        job = self.lost()
        run()
        wait_until(lambda: states(job) == ["completed"])

        after = row(job)
        assert after.attempt == 2
        assert after.errors[0]["error"] == "taken over: leader gone is gone"
        assert after.errors[0]["attempt"] == 1
        assert after.metadata["river:rescue_count"] == 1
        assert f"job {job.pk} (shop.record) was running on a leader that is gone: available" in caplog.text

    def test_ends_what_has_taken_every_leader_down(self, run):
        job = self.lost(attempt=3, max_attempts=3, errors=[])
        run()

        wait_until(lambda: states(job) == ["discarded"])

    def test_leaves_the_last_attempt_of_an_unknown_kind_to_who_knows_it(self, run):
        job = self.lost(kind="elsewhere.work", attempt=3, max_attempts=3)
        client = run()
        leads(client)
        other = bound(jobs.record).enqueue(1)
        wait_until(lambda: states(other) == ["completed"])

        assert states(job) == ["running"]

    def test_honours_a_cancel(self, run):
        job = self.lost(metadata={"cancel_attempted_at": "2026-03-01T12:00:00Z"})
        run()

        wait_until(lambda: states(job) == ["cancelled"])

    def test_leaves_alone_what_living_clients_run(self, run):
        job = JobFactory(running=True, queue="bound", client_id="follower")
        client = run()
        leads(client)
        other = bound(jobs.record).enqueue(1)
        wait_until(lambda: states(other) == ["completed"])

        assert states(job) == ["running"]


class TestHandOver:
    def test_asks_the_job_that_runs_to_stop_and_gives_it_to_the_next_leader(self, run, flag):
        first = run(name="first")
        leads(first)
        job = bound(jobs.until_told).enqueue(str(flag))
        wait_until(flag.exists)
        second = run(name="second")
        request_resign()
        leads(second)
        wait_until(lambda: Run.objects.filter(job_id=job.pk).count() == 2)
        flag.unlink()
        wait_until(lambda: states(job) == ["completed"])

        assert row(job).attempt == 1
        assert [term.why for term in LeaderTerm.objects.order_by("id")] == ["resigned", ""]

    def test_gives_back_a_job_that_will_not_stop_in_time(self, run, flag, caplog):
        first = run(name="first")
        leads(first)
        job = bound(jobs.deaf_until_told).enqueue(str(flag))
        wait_until(flag.exists)
        request_resign()
        wait_until(lambda: LeaderTerm.objects.filter(why="resigned").exists())

        assert "did not stop with our term; its attempt is given back" in caplog.text
        flag.unlink()
        wait_until(lambda: states(job) in (["available"], ["completed"], ["running"]))

    def test_waits_for_a_claim_that_is_on_its_way(self, run, monkeypatch):
        """The next leader would take the job over, as if it had been running and failed."""
        first = run(name="first")
        leads(first)
        claim, claimed, go_on = (
            first.engine.fetcher.storage.job_fetch_as_leader,
            threading.Event(),
            threading.Event(),
        )
        claims, asked = [], []

        def slowly(*args):
            claims.append(1)
            found = claim(*args)
            if found:
                claimed.set()
                go_on.wait(20)
            return found

        def let_go():
            asked.append(1)
            return first.leader_bound.let_go()

        monkeypatch.setattr(first.engine.fetcher.storage, "job_fetch_as_leader", slowly)
        monkeypatch.setattr(first.elector, "let_go", let_go)
        first.engine.lookout.hint(["bound"])
        # No claim is at work that began before.
        wait_until(lambda: claims)
        job = bound(jobs.record).enqueue(1)
        assert claimed.wait(20)
        second = run(name="second")
        request_resign()
        wait_until(lambda: len(asked) > 1)
        go_on.set()
        leads(second)
        wait_until(lambda: states(job) == ["completed"])

        assert (row(job).attempt, row(job).errors) == (1, None)

    def test_waits_at_a_stop_until_the_job_is_done(self, run, flag):
        first = run(name="first", stop_timeout=30.0)
        leads(first)
        job = bound(jobs.deaf_until_told).enqueue(str(flag))
        wait_until(flag.exists)
        second = run(name="second")
        stopping = threading.Thread(target=first.stop)
        stopping.start()
        wait_until(lambda: first.elector.is_leaving)
        assert first.elector.is_leader
        flag.unlink()
        leads(second)
        stopping.join(20)

        assert (states(job), row(job).attempt) == (["completed"], 1)
        assert [term.why for term in LeaderTerm.objects.order_by("id")] == ["stopped", ""]

    def test_comes_at_once_at_a_stop_without_such_jobs(self, run, flag):
        first = run(name="first", stop_timeout=30.0)
        leads(first)
        job = jobs.deaf_until_told.enqueue(str(flag))
        wait_until(flag.exists)
        second = run(name="second")
        stopping = threading.Thread(target=first.stop)
        stopping.start()
        leads(second)
        assert stopping.is_alive()
        flag.unlink()
        stopping.join(20)

        assert states(job) == ["completed"]

    def test_of_a_lease_that_is_lost_asks_the_job_to_stop(self, run, flag):
        client = run()
        leads(client)
        job = bound(jobs.until_told).enqueue(str(flag))
        wait_until(flag.exists)
        Leader.objects.all().delete()
        LeaderFactory(leader_id="go-1")
        client.keeper.hurry("election")

        wait_until(lambda: states(job) == ["available"])
        assert row(job).attempt == 0

    def test_back_to_ourselves_does_not_run_twice_what_still_runs(self, run):
        runs, go_on = [], threading.Event()

        def work():
            runs.append(1)
            go_on.wait(20)

        client = run(registry=registry_of(work=work), cancel_timeout=20.0)
        leads(client)
        job = JobFactory(available=True, kind="work", queue="bound", args={})
        wait_until(lambda: runs)
        before = client.elector.term
        Leader.objects.all().delete()
        client.keeper.hurry("election")
        wait_until(lambda: client.elector.term not in {None, before})
        wait_until(lambda: client.leader_bound.producers[0].term == client.elector.term)
        go_on.set()
        wait_until(lambda: states(job) == ["completed"])

        assert (len(runs), row(job).attempt) == (1, 1)
