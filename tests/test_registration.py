"""Which periodic jobs are in force, and who may lead: at the start, while it runs, and when many start at once."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from django_river import registration as module
from django_river import storage
from django_river.exceptions import RegistryMismatch
from django_river.models import Client, PeriodicJob, PeriodicRegistry
from django_river.registration import LOOK_ASIDE, LOOK_LISTENING, LOOK_POLLING, Registration, Verdict, judge
from django_river.storage.base import ClientInfo
from django_river.storage.periodic import LiveClient, RegistryInForce
from tests.periodic import declare, registry_of
from tests.waiting import is_a_lock_waited_for, wait_until

TIMEOUT = 60.0
NOW = timezone.now()
HOUR = timedelta(hours=1)


def live(hash, release="1", number=0):
    return LiveClient(f"client-{number}", "host", number, NOW, 1.0, release, hash)


def in_force(hash, release="1"):
    return RegistryInForce(hash, release, NOW)


class TestJudge:
    def test_nobody_alive_means_that_anything_goes(self):
        assert judge("mine", "1", None, []) is Verdict.ADOPTS
        assert judge("mine", "1", in_force("theirs", "2"), []) is Verdict.ADOPTS

    def test_the_same_joins(self):
        assert judge("mine", "1", in_force("mine"), [live("mine")]) is Verdict.JOINS
        assert judge("mine", "0", in_force("mine"), [live("mine")]) is Verdict.JOINS

    def test_the_same_of_a_new_release_raises_the_release_in_force(self):
        assert judge("mine", "2", in_force("mine"), [live("mine")]) is Verdict.ADOPTS

    @pytest.mark.parametrize(
        ("release", "verdict"),
        [
            ("2", Verdict.ADOPTS), ("1", Verdict.SAME_RELEASE), ("0", Verdict.LOWER), ("", Verdict.LOWER),
            ("blue", Verdict.INCOMPARABLE),
        ],
    )  # fmt: skip
    def test_of_others_the_release_decides(self, release, verdict):
        assert judge("mine", release, in_force("theirs"), [live("theirs")]) is verdict

    def test_the_highest_release_that_holds_it_counts(self):
        holders = [live("theirs", "1"), live("theirs", "3"), live("theirs", "2")]

        assert judge("mine", "2", in_force("theirs", "1"), holders) is Verdict.LOWER

    def test_followers_of_a_registry_do_not_count_while_it_is_held(self):
        assert judge("mine", "2", in_force("theirs"), [live("old", "9"), live("theirs")]) is Verdict.ADOPTS

    def test_they_do_when_its_holders_are_gone(self):
        gone = in_force("gone", "9")

        assert judge("mine", "1", gone, [live("theirs")]) is Verdict.SAME_RELEASE
        assert judge("mine", "1", gone, [live("mine")]) is Verdict.ADOPTS
        assert judge("mine", "1", gone, [live("theirs"), live("mine", "1", 1)]) is Verdict.SAME_RELEASE
        assert judge("mine", "1", gone, [live("theirs", "0"), live("mine", "1", 1)]) is Verdict.ADOPTS


@pytest.fixture
def enter(using):
    """Registers clients with a registry and a release, each on a connection of its own."""
    opened = []

    def build(*declarations, release="1", follow=False, name=None):
        store = storage.open_storage(using, timeout=20)
        opened.append(store)
        id = name or f"client-{len(opened)}"
        registry = registry_of(*declarations)

        def announce():
            info = ClientInfo(
                id=id, host="host.example", pid=7, version="1", slots=1, release=release,
                registry_hash=registry.hash, objection=built.objection,
            )  # fmt: skip
            store.client_beat(info)

        changes = []
        built = Registration(
            storage=storage.for_periodic(using, store.session),
            registry=registry,
            release=release,
            client_timeout=TIMEOUT,
            follows_mismatch=follow,
            announce=announce,
            on_change=lambda: changes.append(built.objection),
        )
        built.id, built.changes = id, changes
        return built

    def enter(*declarations, **given):
        entered = build(*declarations, **given)
        entered.enter()
        return entered

    enter.build = build
    yield enter
    for store in opened:
        store.close()


def leave(*entered):
    Client.objects.filter(pk__in=[each.id for each in entered]).delete()


def enforced():
    return PeriodicRegistry.objects.get(is_in_force=True)


class TestEnter:
    def test_publishes_what_is_declared(self, enter):
        entered = enter(declare("a", every=60), declare("b", cron="0 3 * * *"), release="1.2")

        registry = enforced()
        assert (registry.hash, registry.release) == (entered.registry.hash, "1.2")
        assert registry.entries == entered.registry.canonical_json
        client = Client.objects.get()
        assert (client.registry_hash, client.release, client.objection) == (registry.hash, "1.2", "")

    def test_makes_a_row_of_every_entry(self, enter):
        before = timezone.now()
        enter(
            declare("a", every=60, expect_success_within=300),
            declare("b", cron="0 3 * * *"),
            declare("c", enabled=False),
        )

        a, b, c = PeriodicJob.objects.order_by("name")
        assert (a.kind, a.schedule, a.expect_success_within) == ("shop.nothing", "every 1 min", 300.0)
        assert timedelta(0) <= a.next_run_at - before - timedelta(seconds=60) < timedelta(seconds=20)
        assert b.schedule == "every day at 03:00 (UTC)"
        assert (b.next_run_at.hour, b.next_run_at.minute) == (3, 0)
        assert (c.schedule, c.next_run_at) == ("never", None)

    def test_joins_the_same(self, enter):
        enter(declare("a"), declare("b"))
        since = enforced().since
        second = enter(declare("b"), declare("a"))

        assert second.objection == ""
        assert enforced().since == since

    def test_refuses_another_of_the_same_release_and_says_all_about_it(self, enter):
        first = enter(declare("kept"), declare("gone"), declare("changed", priority=2))
        refused = enter.build(declare("kept"), declare("new"), declare("changed", priority=3))
        with pytest.raises(RegistryMismatch) as error:
            refused.enter()

        since, started_at = (
            f"{moment:%Y-%m-%d %H:%M:%S} UTC"
            for moment in (enforced().since, Client.objects.get().started_at)
        )
        holder = (
            f"    client-1: host host.example, pid 7, since {started_at}, release 1, last heard of 0 s ago"
        )
        assert str(error.value).splitlines() == [
            "other periodic jobs are in force, so this worker does not start.",
            "",
            f"  here:  release 1, hash {refused.registry.hash[:12]}",
            f"  there: release 1, hash {first.registry.hash[:12]}, in force since {since}",
            "",
            "  ~ changed: priority: here 3, there 2",
            '  - gone: only there: job "shop.nothing", every 3600, args {"number": 0}, queue "default", priority 1',
            '  + new: only here: job "shop.nothing", every 3600, args {"number": 0}, queue "default", priority 1',
            "",
            "  Held by:",
            holder,
            "",
            "  Both are the same release: deploy the same code everywhere, or declare a higher RELEASE to take over.",
            "  Clients that were killed count until a leader has seen it: for seconds, or CLIENT_TIMEOUT (60 s) if there is none.",
        ]

    def test_writes_nothing_when_it_refuses(self, enter):
        first = enter(declare("a"))
        with pytest.raises(RegistryMismatch):
            enter(declare("b"))

        assert Client.objects.get().pk == first.id
        assert PeriodicRegistry.objects.get().hash == first.registry.hash
        assert PeriodicJob.objects.get().name == "a"

    def test_refuses_a_lower_release(self, enter):
        enter(declare("a"), release="2")

        with pytest.raises(RegistryMismatch, match="The other release is higher: deploy it here, too"):
            enter(declare("b"), release="1")

    def test_refuses_what_nobody_can_compare(self, enter):
        enter(declare("a"), release="2")

        with pytest.raises(RegistryMismatch, match="Nobody can tell whether 'blue' is higher than '2'"):
            enter(declare("b"), release="blue")

    def test_names_a_few_of_many_holders(self, enter):
        for _ in range(module.CLIENTS_NAMED + 3):
            enter(declare("a"))

        with pytest.raises(RegistryMismatch, match="    and 3 more") as error:
            enter(declare("b"))
        assert str(error.value).count("host host.example") == module.CLIENTS_NAMED

    @pytest.mark.parametrize("release", ["0", "1"])
    def test_follows_instead_if_told_to(self, enter, release, caplog):
        first = enter(declare("a"), release="1")
        second = enter(declare("b"), release=release, follow=True)

        assert second.objection == (
            f"its periodic jobs (release {release}) are not those in force (release 1, held by client-1)"
        )
        assert Client.objects.get(pk=second.id).objection == second.objection
        assert enforced().hash == first.registry.hash
        assert PeriodicJob.objects.get().name == "a"
        assert f"this client works jobs and does not lead: {second.objection}" in caplog.text

    def test_takes_over_with_a_higher_release(self, enter):
        enter(declare("a"), release="1")
        second = enter(declare("b"), release="2")

        assert second.objection == ""
        assert (enforced().hash, enforced().release) == (second.registry.hash, "2")
        assert PeriodicJob.objects.get().name == "b"

    def test_accepts_anything_when_nobody_lives(self, enter):
        first = enter(declare("a"), release="2")
        leave(first)
        second = enter(declare("b"), release="1")

        assert enforced().hash == second.registry.hash

    def test_does_not_count_who_is_taken_for_lost(self, enter):
        enter(declare("a"), release="2")
        Client.objects.update(lost_at=timezone.now(), lost_why="client_lost")
        second = enter(declare("b"), release="1")

        assert enforced().hash == second.registry.hash

    def test_does_not_count_who_has_long_been_silent(self, enter):
        enter(declare("a"), release="2")
        Client.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=TIMEOUT + 1))
        second = enter(declare("b"), release="1")

        assert enforced().hash == second.registry.hash


class TestRows:
    def test_of_a_weekly_job_survive_daily_deploys(self, enter):
        in_force = enter(declare("weekly", every=timedelta(weeks=1)), release="1")
        planned = PeriodicJob.objects.get().next_run_at
        for day in range(2, 7):
            leave(in_force)
            in_force = enter(
                declare("weekly", every=timedelta(weeks=1), args={"number": day}), release=str(day)
            )

        assert PeriodicJob.objects.get().next_run_at == planned

    def test_are_planned_anew_when_the_schedule_has_changed(self, enter):
        enter(declare("a", every=HOUR), release="1")
        enter(declare("a", every=2 * HOUR), release="2")

        assert PeriodicJob.objects.get().next_run_at > timezone.now() + 1.9 * HOUR

    def test_are_planned_when_an_entry_is_switched_on(self, enter):
        enter(declare("a", enabled=False), release="1")
        enter(declare("a"), release="2")

        assert PeriodicJob.objects.get().next_run_at > timezone.now()

    def test_keep_a_run_that_is_overdue_for_whoever_catches_up(self, enter):
        first = enter(declare("a"), release="1")
        long_ago = timezone.now() - timedelta(days=3)
        PeriodicJob.objects.update(next_run_at=long_ago)
        leave(first)
        enter(declare("a"), release="1")

        assert PeriodicJob.objects.get().next_run_at == long_ago

    @pytest.mark.postgres
    def test_do_not_go_back_if_a_run_is_enqueued_meanwhile(self, enter):
        leader = enter(declare("a"), release="1")
        newer = enter.build(declare("a"), release="2")
        advanced_to = timezone.now() + 7 * HOUR
        with leader.storage.atomic():
            leader.storage.periodic_resume("a", advanced_to)
            thread = threading.Thread(target=newer.enter)
            thread.start()
            wait_until(is_a_lock_waited_for)
        thread.join(20)

        assert enforced().release == "2"
        assert PeriodicJob.objects.get().next_run_at == advanced_to

    def test_want_a_run_on_start_with_the_first_client_and_with_each_release(self, enter):
        def starts(release, *, leave_first=()):
            leave(*leave_first)
            PeriodicJob.objects.update(extra_run_at=None)
            entered = enter(declare("a", run_on_start=True), release=release)
            return PeriodicJob.objects.filter(extra_run_at__isnull=False).exists(), entered

        is_wanted, first = starts("1")
        assert is_wanted
        is_wanted, second = starts("1")
        assert not is_wanted
        is_wanted, third = starts("2")
        assert is_wanted
        is_wanted, _ = starts("1", leave_first=[first, second, third])
        assert is_wanted

    def test_want_none_of_those_who_take_the_place_of_others_gone(self, enter):
        old = enter(declare("a", run_on_start=True), release="1")
        new = enter(declare("b"), release="2")
        old.look()
        leave(new)
        old.look()

        assert enforced().hash == old.registry.hash
        assert PeriodicJob.objects.get().extra_run_at is None


class TestLook:
    def test_finds_nothing_new(self, enter):
        entered = enter(declare("a"))

        assert entered.look() == LOOK_POLLING <= 2
        assert (entered.objection, entered.changes) == ("", [])

    def test_is_seldom_needed_by_who_is_told(self, enter):
        entered = enter(declare("a"))
        entered.is_listening = lambda: True

        assert entered.look() == LOOK_LISTENING

    def test_is_needed_by_who_stands_aside(self, enter):
        old = enter(declare("a"), release="1")
        enter(declare("b"), release="2")
        old.is_listening = lambda: True

        assert old.look() == LOOK_ASIDE

    def test_sees_that_a_newer_release_has_taken_over(self, enter, caplog):
        old = enter(declare("a"), release="1")
        enter(declare("b"), release="2")
        old.look()
        old.look()

        reason = "its periodic jobs (release 1) are not those in force (release 2, held by client-2)"
        assert old.changes == [reason]
        assert caplog.text.count(f"this client works jobs and does not lead any more: {reason}") == 1

    def test_lets_the_older_lead_again_when_the_newer_are_gone(self, enter, caplog):
        caplog.set_level("INFO", "django_river")
        old, new = enter(declare("a"), release="1"), enter(declare("b"), release="2")
        old.look()
        leave(new)
        old.look()

        assert old.objection == ""
        assert enforced().hash == old.registry.hash
        assert PeriodicJob.objects.get().name == "a"
        assert "this client's periodic jobs are in force again: it may lead" in caplog.text

    def test_of_two_that_follow_one_comes_into_force(self, enter):
        first = enter(declare("a"))
        followers = [enter(declare(name), follow=True) for name in ("b", "c", "c")]
        leave(first)
        for follower in followers * 2:
            follower.look()

        assert [bool(follower.objection) for follower in followers] == [False, True, True]
        assert enforced().hash == followers[0].registry.hash

    def test_takes_back_what_others_took_while_it_was_away(self, enter):
        newer = enter(declare("b"), release="2")
        Client.objects.update(heartbeat_at=timezone.now() - HOUR)
        older = enter(declare("a"), release="1")
        Client.objects.update(heartbeat_at=timezone.now())
        newer.look()
        older.look()

        assert enforced().hash == newer.registry.hash
        assert (newer.objection, bool(older.objection)) == ("", True)


@pytest.mark.slow
class TestRaces:
    def start_all(self, registrations):
        """All at the same instant, each on its own connection; those that were refused."""
        barrier, refused = threading.Barrier(len(registrations)), []

        def start(registration):
            registration.storage.now()
            barrier.wait(60)
            try:
                registration.enter()
            except RegistryMismatch:
                refused.append(registration)

        threads = [threading.Thread(target=start, args=[each]) for each in registrations]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return refused

    def test_of_many_that_differ_and_start_at_the_same_instant_only_one_sort_starts(self, enter):
        """Two hundred starts in all, as many at a time as the database has connections for."""
        at_once = 50 if connection.vendor == "postgresql" else 20
        for _ in range(200 // at_once):
            both = [enter.build(declare("a" if number % 2 else "b")) for number in range(at_once)]
            refused = self.start_all(both)
            entered = [each for each in both if each not in refused]

            assert len({each.registry.hash for each in entered}) == 1
            assert len(entered) == len(refused) == at_once // 2
            assert set(Client.objects.values_list("registry_hash", flat=True)) == {enforced().hash}
            leave(*entered)
            for each in both:
                each.storage.session.close()

    def test_of_many_that_may_follow_only_one_sort_may_lead(self, enter):
        both = [enter.build(declare("a" if number % 2 else "b"), follow=True) for number in range(20)]
        assert self.start_all(both) == []

        leaders = {each.registry.hash for each in both if not each.objection}
        assert leaders == {enforced().hash}
        assert Counter(bool(each.objection) for each in both) == {True: 10, False: 10}

    def test_of_many_releases_the_highest_is_in_force_at_the_end(self, enter):
        many = [enter.build(declare(f"n{number}"), release=str(number), follow=True) for number in range(20)]
        self.start_all(many)

        assert enforced().release == "19"

    def test_followers_that_settle_anew_at_the_same_instant_agree(self, enter):
        first = enter(declare("first"), release="9")
        followers = [enter(declare(f"n{number % 3}"), follow=True) for number in range(12)]
        leave(first)
        threads = [threading.Thread(target=each.look) for each in followers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for each in followers:
            each.look()

        assert {each.registry.hash for each in followers if not each.objection} == {enforced().hash}
