"""Terms, and storages for the leader's services."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_river import storage
from django_river.models import Leader


@pytest.fixture
def store(using):
    """A storage on a connection of its own."""
    # Tests leave transactions open on it, for as long as a busy machine takes for what is to happen meanwhile.
    store = storage.open_storage(using, timeout=60)
    yield store
    store.close()


@pytest.fixture
def begin(store):
    """Begins terms, each of which ends the last."""

    def begin(client_id="leader"):
        Leader.objects.all().delete()
        elected = store.leader_elect(client_id, timedelta(hours=1))
        return elected.term

    return begin


@pytest.fixture
def term(begin):
    """A term that lasts."""
    return begin()


@pytest.fixture
def upkeep(using, term):
    """Maintenance in the name of that term, on a connection of its own."""
    upkeep = storage.open_upkeep(using, term=term, timeout=10)
    yield upkeep
    upkeep.close()
