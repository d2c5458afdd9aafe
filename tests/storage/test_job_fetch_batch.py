"""Claims that go by kind: what batches are filled with, and what is left to others."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from django_river.storage import batches as contract
from django_river.storage.base import Demand
from django_river.storage.batches import LeftOut, Wanted
from django_river.terms import Term
from tests.factories import ClientFactory, JobFactory
from tests.storage.steps import HOUR, ME, OTHER, new, row

MINUTE = timedelta(minutes=1)


def wanted(limit=100, **given):
    return Wanted(**{"queue": "default", "kind": "batched", "limit": limit} | given)


def of(tenant, **given):
    return JobFactory(kind="batched", args={"tenant": tenant}, **given)


def ids(jobs):
    return [job.id for job in jobs]


def without(store, *left_out, limit=100, queue="default"):
    out = [LeftOut(queue="default", kind=kind, seconds=seconds) for kind, seconds in left_out]
    return ids(store.job_fetch_without(ME, [Demand(queue=queue, limit=limit)], limit, out))


class TestMatching:
    def test_takes_due_jobs_of_the_kind_in_the_order_of_the_queue(self, store):
        late, first = of("a", priority=2), of("a", priority=1)
        JobFactory(kind="other"), of("a", queue="elsewhere"), of("a", scheduled_at=timezone.now() + HOUR)

        claimed = store.job_fetch_matching(ME, [wanted()])

        assert ids(claimed) == [first.id, late.id]
        job = row(first)
        assert (job.state, job.attempt, job.attempted_by) == ("running", 1, [ME])
        assert (claimed[0].kind, claimed[0].attempt, json.loads(claimed[0].args)) == (
            "batched",
            1,
            {"tenant": "a"},
        )

    @pytest.mark.parametrize(
        "value", ["a", "it's \u201cquoted\u201d %s \\", 7, -1.5, True, None, [1, 2], {"b": 1}]
    )
    def test_takes_those_with_the_same_value_of_an_argument(self, store, value):
        store.job_insert_many(
            [
                new(kind="batched", args=json.dumps({"tenant": tenant}, separators=(",", ":")).encode())
                for tenant in ("other", value, "7", value)
            ]
        )

        claimed = store.job_fetch_matching(
            ME, [wanted(argument="tenant", value=json.dumps(value, separators=(",", ":")))]
        )

        assert [json.loads(job.args)["tenant"] for job in claimed] == [value, value]

    def test_serves_several_at_once_each_up_to_its_limit(self, store):
        for _ in range(3):
            of("a"), of("b")
        JobFactory(kind="more", queue="elsewhere")

        claimed = store.job_fetch_matching(
            ME,
            [
                wanted(1, argument="tenant", value='"b"'),
                wanted(2, argument="tenant", value='"a"'),
                wanted(9, kind="more", queue="elsewhere"),
            ],
        )

        assert sorted(json.loads(job.args).get("tenant", "-") for job in claimed) == ["-", "a", "a", "b"]

    def test_looks_no_further_than_is_good(self, store, monkeypatch):
        monkeypatch.setattr(type(store).__module__.replace("driver", "batches") + ".LOOK_AT", 3)
        for kind in ("other", "other", "batched", "batched"):
            JobFactory(kind=kind)

        assert len(store.job_fetch_matching(ME, [wanted()])) == 1
        assert contract.LOOK_AT == 10_000

    def test_is_refused_to_a_former_leader(self, store):
        of("a")
        lease = store.leader_elect(ME, HOUR)
        gone = Term(ME, lease.elected_at - HOUR)

        assert store.job_fetch_matching(ME, [wanted()], term=gone) == []
        assert len(store.job_fetch_matching(ME, [wanted()], term=lease.term)) == 1

    @pytest.mark.postgres
    def test_passes_over_what_another_is_claiming(self, store, other_store):
        jobs = [of("a") for _ in range(4)]

        with store.session.atomic():
            mine = store.job_fetch_matching(ME, [wanted(2)])
            theirs = other_store.job_fetch_matching(OTHER, [wanted(2)])

        assert ids(mine) + ids(theirs) == ids(jobs)

    @pytest.mark.postgres
    def test_locks_nothing_that_it_does_not_take(self, store, other_store):
        jobs = [of("a"), of("b"), JobFactory()]

        with store.session.atomic():
            mine = store.job_fetch_matching(ME, [wanted(argument="tenant", value='"b"')])
            theirs = other_store.job_fetch(OTHER, [Demand(queue="default", limit=9)], 9)

        assert (ids(mine), ids(theirs)) == ([jobs[1].id], [jobs[0].id, jobs[2].id])


class TestWithout:
    def test_leaves_young_jobs_of_a_kind_to_others(self, store):
        old, young = of("a", scheduled_at=timezone.now() - HOUR), of("a", scheduled_at=timezone.now())
        single = JobFactory(scheduled_at=timezone.now())

        assert without(store, ("batched", 60.0)) == [old.id, single.id]
        assert row(young).state == "available"

    def test_holds_for_one_queue(self, store):
        here, there = of("a"), of("a", queue="elsewhere")

        assert without(store, ("batched", 3600.0), queue="elsewhere") == [there.id]
        assert without(store, ("batched", 3600.0)) == []
        assert row(here).attempt == 0

    def test_keeps_order_and_limits(self, store):
        jobs = [JobFactory(priority=priority) for priority in (3, 1, 2, 1)]
        of("a", priority=1)

        first = without(store, ("batched", 3600.0), limit=3)

        assert first == [jobs[1].id, jobs[3].id, jobs[2].id]
        assert without(store, ("batched", 3600.0)) == [jobs[0].id]

    def test_holds_for_a_leader_too(self, store):
        of("a"), JobFactory()
        term = store.leader_elect(ME, HOUR).term
        out = [LeftOut(queue="default", kind="batched", seconds=3600.0)]

        claimed = store.job_fetch_as_leader(term, [Demand(queue="default", limit=9)], 9, out)

        assert "batched" not in {job.kind for job in claimed}
        assert len(claimed) == 1

    def test_serves_many_queues_within_one_limit(self, store):
        for queue in ("a", "b", "none"):
            JobFactory(queue=queue), JobFactory(queue=queue)
        demands = [Demand(queue=queue, limit=9) for queue in ("b", "a", "empty")]

        claimed = store.job_fetch_without(ME, demands, 3, [LeftOut(queue="a", kind="x", seconds=1)])

        assert sorted(job.queue for job in claimed) == ["a", "b", "b"]

    @pytest.mark.postgres
    def test_passes_over_what_another_is_claiming(self, store, other_store):
        jobs = [JobFactory() for _ in range(4)]

        with store.session.atomic():
            mine = without(store, ("batched", 1.0), limit=2)
            theirs = without(other_store, ("batched", 1.0), limit=2)

        assert mine + theirs == ids(jobs)

    @pytest.mark.postgres
    def test_locks_nothing_that_it_leaves_to_others(self, store, other_store):
        jobs = [of("a") for _ in range(3)]
        single = JobFactory()

        with store.session.atomic():
            mine = without(store, ("batched", 3600.0))
            theirs = other_store.job_fetch(OTHER, [Demand(queue="default", limit=9)], 9)

        assert (mine, ids(theirs)) == ([single.id], ids(jobs))


def test_living_clients_are_those_with_a_fresh_heartbeat(store):
    fresh = ClientFactory(queues=["a", "b"])
    ClientFactory(stale=True)

    assert [(client.id, list(client.queues)) for client in store.client_list_living(MINUTE)] == [
        (fresh.id, ["a", "b"])
    ]
