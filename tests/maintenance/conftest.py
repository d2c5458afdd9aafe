"""A storage for the leader's services."""

from __future__ import annotations

import pytest

from django_river import storage


@pytest.fixture
def store(using):
    """A storage on a connection of its own."""
    store = storage.open_storage(using, timeout=10)
    yield store
    store.close()
