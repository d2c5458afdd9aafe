"""Periodic jobs for tests: declared, and built into registries, without a word to the rest of the process."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django_river.jobs.periodic import Declaration
from django_river.jobs.periodic_registry import PeriodicRegistry
from django_river.registration import Registration
from django_river.storage.periodic import PeriodicStorage
from tests.shop import jobs


def declare(name: str = "work", **options: Any) -> Declaration:
    """An hourly ``nothing`` unless it is said otherwise."""
    timing = {} if "cron" in options else {"every": timedelta(hours=1)}
    return Declaration(**{"job": jobs.nothing, "name": name, "place": f"tests.{name}", **timing, **options})


def registry_of(*declarations: Declaration) -> PeriodicRegistry:
    """What a process with these declares."""
    return PeriodicRegistry.build(declarations, timezone="UTC", max_args_bytes=10_000)


def put_into_force(periodic: PeriodicStorage, registry: PeriodicRegistry) -> None:
    """As a first client does when it starts; none is announced."""
    Registration(
        storage=periodic,
        registry=registry,
        release="1",
        client_timeout=60.0,
        follows_mismatch=False,
        announce=lambda: None,
    ).enter()
