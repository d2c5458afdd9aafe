"""What a term brings: begun and ended in its own thread, so that the lease is renewed meanwhile."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from django_river.leadership import TRUST_MARGIN
from django_river.models import Leader, LeaderTerm
from django_river.service import Backoff
from django_river.signals import leader_elected, leader_lost
from django_river.terms import TermEnd
from django_river.work.keeper import Keeper
from django_river.work.steward import Steward
from tests.electing import TTL, Clock, Stand
from tests.waiting import wait_until


class Charge:
    """Notes what it is told."""

    def __init__(self):
        self.told = []
        self.on_begin = lambda: None
        self.on_end = lambda: None

    def begin(self, term):
        self.told.append(("begin", term))
        self.on_begin()

    def end(self):
        self.told.append("end")
        self.on_end()

    @property
    def verbs(self):
        return [told if told == "end" else told[0] for told in self.told]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def stand(using, clock):
    stand = Stand(using, clock)
    yield stand
    stand.close()


@pytest.fixture
def charge():
    return Charge()


@pytest.fixture
def serve(stand, charge):
    """Builds an elector with its steward, and stops the steward."""
    built = []

    def build(*charges, on_trouble=lambda: None, **given):
        elector = stand(**given)
        steward = Steward(elector=elector, charges=charges or [charge], on_trouble=on_trouble)
        steward.start()
        built.append(steward)
        return elector

    yield build
    for steward in built:
        assert steward.stop(10)


@pytest.fixture
def heard():
    heard = []

    def elected(client_id, term, **_):
        heard.append(("elected", client_id, term))

    def lost(client_id, term, why, **_):
        heard.append(("lost", client_id, term, why))

    leader_elected.connect(elected)
    leader_lost.connect(lost)
    yield heard
    leader_elected.disconnect(elected)
    leader_lost.disconnect(lost)


class TestTerm:
    def test_begins_and_ends_what_belongs_to_it(self, serve, charge, heard):
        elector = serve()
        elector.attempt()
        term = elector.term
        wait_until(lambda: charge.told == [("begin", term)])
        elector.resign()
        wait_until(lambda: charge.verbs == ["begin", "end"])

        wait_until(lambda: heard == [("elected", "me", term), ("lost", "me", term, TermEnd.STOPPED)])

    def test_ends_in_time_though_the_elector_waits_for_the_database(self, stand, serve, charge, monkeypatch):
        answer = threading.Event()
        elector = serve(ttl=3.0, clock=time.monotonic)
        elector.attempt()
        began = time.monotonic()
        monkeypatch.setattr(elector.storage, "leader_renew", lambda *_: answer.wait(20) and None)
        with ThreadPoolExecutor() as pool:
            asking = pool.submit(elector.attempt)
            wait_until(lambda: charge.verbs == ["begin", "end"])
            assert time.monotonic() - began >= 3.0 - TRUST_MARGIN - 0.1
            assert not asking.done()
            answer.set()
            asking.result(20)

    def test_that_another_follows_begins_anew(self, serve, charge):
        elector = serve()
        elector.attempt()
        Leader.objects.all().delete()
        elector.attempt()
        elector.attempt()
        wait_until(lambda: charge.verbs == ["begin", "end", "begin"])

        assert charge.told[2][1] == elector.term

    def test_ends_with_the_steward(self, serve, charge, stand):
        elector = stand()
        steward = Steward(elector=elector, charges=[charge], on_trouble=lambda: None)
        steward.start()
        elector.attempt()
        wait_until(lambda: charge.verbs == ["begin"])
        steward.stop()

        assert charge.verbs == ["begin", "end"]

    def test_that_ends_as_the_steward_stops_is_told(self, stand, charge, heard):
        go_on = threading.Event()
        charge.on_begin = lambda: go_on.wait(20)
        elector = stand()
        steward = Steward(elector=elector, charges=[charge], on_trouble=lambda: None)
        steward.start()
        elector.attempt()
        wait_until(lambda: charge.verbs == ["begin"])
        elector.resign()
        with ThreadPoolExecutor() as pool:
            stopping = pool.submit(steward.stop, 20)
            wait_until(lambda: steward.is_stopping)
            go_on.set()
            assert stopping.result(20)

        assert charge.verbs == ["begin", "end"]
        assert [told[0] for told in heard] == ["elected", "lost"]


class TestTrouble:
    def test_at_the_beginning_makes_the_leader_resign(self, serve, charge, caplog, clock):
        told = threading.Event()
        charge.on_begin = lambda: 1 / 0
        elector = serve(on_trouble=told.set)
        elector.attempt()
        assert told.wait(10)
        elector.attempt()
        wait_until(lambda: charge.verbs == ["begin", "end"])

        assert elector.attempt() > 0
        assert not elector.is_leader
        assert not Leader.objects.exists()
        assert "client me cannot do what a leader has to" in caplog.text

    def test_again_and_again_is_tried_less_and_less_often(self, serve, charge, clock):
        charge.on_begin = lambda: 1 / 0
        pauses = []
        elector = serve()
        for _ in range(4):
            elector.attempt()
            wait_until(lambda: elector.is_leaving)
            elector.attempt()
            pauses.append(elector._abstain_until - clock.now)
            clock.now = elector._abstain_until

        assert pauses == sorted(pauses)
        assert pauses[-1] > 3 * pauses[0]

    def test_at_the_end_of_one_charge_does_not_keep_another_going(self, serve, caplog):
        first, second = Charge(), Charge()
        first.on_end = lambda: 1 / 0
        elector = serve(first, second)
        elector.attempt()
        wait_until(lambda: second.verbs == ["begin"])
        elector.resign()

        wait_until(lambda: second.verbs == ["begin", "end"])
        assert "what belongs to a term did not end" in caplog.text

    def test_of_a_receiver_is_logged(self, serve, charge, caplog):
        def fail(**_):
            raise LookupError("nobody to tell")

        leader_elected.connect(fail)
        try:
            elector = serve()
            elector.attempt()
            wait_until(lambda: "nobody to tell" in caplog.text)
        finally:
            leader_elected.disconnect(fail)
        assert elector.is_leader


@pytest.mark.parametrize("verb", ["on_begin", "on_end"])
def test_the_lease_is_renewed_while_a_service_starts_or_stops_slowly(stand, verb):
    """What is slow in maintenance must cost no term: here it takes longer than the lease holds."""
    elector, charge, go_on = stand(ttl=3.0, clock=time.monotonic), Charge(), threading.Event()
    setattr(charge, verb, lambda: go_on.wait(30))
    keeper = Keeper(storage=elector.storage)
    keeper.add("election", elector.attempt, is_urgent=True)
    steward = Steward(elector=elector, charges=[charge], on_trouble=lambda: None)
    steward.start()
    keeper.start()
    wait_until(lambda: charge.verbs == ["begin"])
    if verb == "on_end":
        Leader.objects.all().delete()
        keeper.hurry("election")
        wait_until(lambda: "end" in charge.verbs)
        wait_until(lambda: elector.is_leader)
    began = Leader.objects.get()
    wait_until(lambda: (Leader.objects.get().expires_at - began.expires_at).total_seconds() > 3.0, 20)

    assert Leader.objects.get().elected_at == began.elected_at
    go_on.set()
    keeper.stop(10)
    steward.stop(10)


def test_many_threads_may_start_and_stop_an_elector_at_once(stand):
    """Ten threads, fifty cycles each; nobody is left believing that it leads, and no term is left open."""
    elector, charge = stand(ttl=TTL, clock=time.monotonic), Charge()
    keeper = Keeper(storage=elector.storage)
    keeper.add("election", elector.attempt, is_urgent=True)
    keeper._duties["election"].backoff = Backoff(first=0.01, longest=0.01)
    steward = Steward(elector=elector, charges=[charge], on_trouble=lambda: None)

    def cycle():
        for _ in range(50):
            steward.start()
            keeper.start()
            keeper.hurry("election")
            assert keeper.stop(30)
            assert steward.stop(30)

    with ThreadPoolExecutor(10) as pool:
        for future in [pool.submit(cycle) for _ in range(10)]:
            future.result(120)
    elector.resign()
    steward.start()
    wait_until(lambda: not elector._news)
    assert steward.stop(10)

    assert not keeper.is_running
    assert charge.verbs.count("begin") == charge.verbs.count("end")
    assert not Leader.objects.exists()
    assert not LeaderTerm.objects.filter(ended_at=None).exists()
