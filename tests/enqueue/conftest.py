"""What enqueuing is watched through: another connection, what is said on the channels, who is woken."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_river import job, storage
from django_river.enqueue import JobFunction
from django_river.hints import hints
from django_river.jobs.registry import registry
from django_river.storage.base import TOPIC_CONTROL, TOPIC_INSERT


@pytest.fixture(autouse=True)
def nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier test has said a moment ago leaves nothing out."""
    monkeypatch.setattr(hints, "_sent_at", {})


@pytest.fixture
def heard(using: str) -> Iterator[Callable[[], list[str]]]:
    """The queues that workers elsewhere have been told about so far: what is said last is heard last."""
    listener, store = storage.open_listener(using), storage.open_storage(using, timeout=20)
    assert listener is not None
    assert listener.connect([TOPIC_INSERT, TOPIC_CONTROL])

    def ask() -> list[str]:
        store.notify_many(TOPIC_CONTROL, ["end"])
        said: list[tuple[str, str]] = []
        while (TOPIC_CONTROL, "end") not in said:
            said += listener.wait(10)
        return [json.loads(payload)["queue"] for _, payload in said[:-1]]

    yield ask
    listener.close()
    store.close()


@pytest.fixture
def woken(using: str) -> Iterator[list[list[str]]]:
    """What the clients of this process hear."""
    calls: list[list[str]] = []

    def waker(queues: Any) -> None:
        calls.append(sorted(queues))

    hints.add_waker(using, waker)
    yield calls
    hints.remove_waker(using, waker)


@pytest.fixture
def define() -> Iterator[Callable[..., JobFunction[..., Any]]]:
    """Makes a function a job, until the test is over."""
    made: list[JobFunction[..., Any]] = []

    def make(function: Callable[..., Any], **options: Any) -> JobFunction[..., Any]:
        made.append(job(**{"kind": f"tests.{function.__name__.strip('<>')}"} | options)(function))
        return made[-1]

    yield make
    for definition in made:
        registry.discard(definition)
