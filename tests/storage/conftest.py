"""Storage as the machinery has it: on connections of its own, so that every statement commits."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_river import storage
from django_river.storage.base import Storage
from django_river.storage.upkeep import Upkeep
from django_river.terms import Term
from tests.storage.steps import begin_term


@pytest.fixture
def store(using: str) -> Iterator[Storage]:
    opened = storage.open_storage(using, timeout=20)
    yield opened
    opened.close()


@pytest.fixture
def other_store(using: str) -> Iterator[Storage]:
    """A second connection, for what two clients do at the same time."""
    opened = storage.open_storage(using, timeout=20)
    yield opened
    opened.close()


@pytest.fixture(params=["own", "django"])
def any_store(using: str, request: pytest.FixtureRequest) -> Iterator[Storage]:
    """Storage on a connection of its own, and on Django's: the contract is the same."""
    is_own = request.param == "own"
    opened = storage.open_storage(using, timeout=20) if is_own else storage.for_caller(using)
    yield opened
    opened.close()


@pytest.fixture
def django_store(db: None) -> Storage:
    """Storage on Django's connection, inside the transaction of the test."""
    return storage.for_caller("default")


@pytest.fixture
def term(store: Storage) -> Term:
    """A term that lasts."""
    return begin_term(store)


@pytest.fixture
def upkeep(store: Storage, term: Term, using: str) -> Upkeep:
    """Maintenance in the name of that term, on the connection of ``store``."""
    return storage.upkeep_on(store.session, using, term=term)
