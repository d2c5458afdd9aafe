"""Real storages for the parts that work jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from django_river import storage
from django_river.storage.base import Storage


@pytest.fixture
def open_store(using: str) -> Iterator[Callable[..., Storage]]:
    """Opens storages on connections of their own, and closes them."""
    opened = []

    def open_one(timeout: float = 10) -> Storage:
        opened.append(storage.open_storage(using, timeout=timeout))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[..., Storage]) -> Storage:
    """A storage on a connection of its own."""
    return open_store()
