"""The only place with SQL and cursors. ``base`` holds the contract, one package per database fulfils it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from django.db import connections
from django.utils.module_loading import import_string

from django_river.exceptions import ConfigError
from django_river.storage.sessions import DjangoSession

if TYPE_CHECKING:
    from django_river.storage.base import Listener, Session, Storage
    from django_river.storage.overview import Overview
    from django_river.storage.periodic import PeriodicStorage
    from django_river.storage.upkeep import Upkeep
    from django_river.terms import Term

#: Drivers by vendor, as dotted paths: a site that uses one database imports the code of one.
DRIVERS = {
    "postgresql": "django_river.storage.postgres.driver",
    "sqlite": "django_river.storage.sqlite.driver",
}
UPKEEPS = {
    "postgresql": "django_river.storage.postgres.upkeep.PostgresUpkeep",
    "sqlite": "django_river.storage.sqlite.upkeep.SqliteUpkeep",
}
OVERVIEWS = {
    "postgresql": "django_river.storage.postgres.overview.PostgresOverview",
    "sqlite": "django_river.storage.sqlite.overview.SqliteOverview",
}
PERIODIC = {
    "postgresql": "django_river.storage.postgres.periodic.PostgresPeriodic",
    "sqlite": "django_river.storage.sqlite.periodic.SqlitePeriodic",
}


@cache
def for_caller(using: str) -> Storage:
    """Storage on Django's connection of this thread: what it writes commits and rolls back with the caller.

    It keeps nothing of its caller, so there is one for all.
    """
    storage: Storage = import_string(f"{_driver(using)}.Driver")(DjangoSession(using))
    return storage


def open_storage(using: str, *, timeout: float) -> Storage:
    """Storage on a connection of its own, opened when first used; no statement takes longer than ``timeout`` s."""
    storage: Storage = import_string(f"{_driver(using)}.open_driver")(using, timeout=timeout)
    return storage


def storage_on(session: Session, using: str) -> Storage:
    """Storage on a session that is there already."""
    storage: Storage = import_string(f"{_driver(using)}.Driver")(session)
    return storage


def open_listener(using: str) -> Listener | None:
    """A connection that hears notifications, or ``None`` where the database has none."""
    listener: Listener | None = import_string(f"{_driver(using)}.open_listener")(using)
    return listener


def open_upkeep(using: str, *, term: Term, timeout: float) -> Upkeep:
    """Maintenance in the name of a term, on a connection of its own as :func:`open_storage` has it."""
    return upkeep_on(open_storage(using, timeout=timeout).session, using, term=term)


def upkeep_on(session: Session, using: str, *, term: Term | None = None) -> Upkeep:
    """Maintenance on a session that is there already."""
    upkeep: Upkeep = import_string(_of_vendor(UPKEEPS, using))(session, term)
    return upkeep


def for_periodic(using: str, session: Session | None = None) -> PeriodicStorage:
    """What is stored about periodic jobs, on the session of a storage, or on Django's connection of this thread."""
    found: PeriodicStorage = import_string(_of_vendor(PERIODIC, using))(session or DjangoSession(using))
    return found


def for_people(using: str) -> Overview:
    """Reads for people, on Django's connection of this thread."""
    found: Overview = import_string(_of_vendor(OVERVIEWS, using))(DjangoSession(using), using)
    return found


def _driver(using: str) -> str:
    return _of_vendor(DRIVERS, using)


def _of_vendor(paths: Mapping[str, str], using: str) -> str:
    vendor = connections[using].vendor
    try:
        return paths[vendor]
    except KeyError:
        raise ConfigError(
            f"database {using!r} is {vendor}; jobs can be kept on {' and '.join(sorted(DRIVERS))} only"
        ) from None
