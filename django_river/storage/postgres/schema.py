"""Creates River's tables, or adopts those that River made, and takes them away again."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from django_river.exceptions import MigrationError
from django_river.storage.statements import load

SQL = load("django_river.storage.postgres")
RIVER_VERSION = 7
TABLES = frozenset({"river_job", "river_leader", "river_migration", "river_notification", "river_queue"})


def create_or_adopt(schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Leave River's tables at version 7 with our indexes beside.

    Raises :class:`MigrationError` if River's tables are there at another version.
    """
    found = _tables(schema_editor)
    # Whoever asks for the SQL of a migration that has been applied wants to see how the tables were made.
    is_shown = schema_editor.collect_sql and _are_ours(schema_editor)
    if found and not is_shown:
        _check_version(schema_editor, found)
    else:
        schema_editor.execute(SQL["schema_river"], params=None)
    schema_editor.execute(SQL["schema_indexes"], params=None)


def drop(schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Drop what we created: everything, or our indexes only if the tables were River's before they were ours."""
    if _are_ours(schema_editor) or not _tables(schema_editor):
        schema_editor.execute(SQL["schema_drop"], params=None)
    else:
        schema_editor.execute(SQL["schema_drop_indexes"], params=None)


def _check_version(schema_editor: BaseDatabaseSchemaEditor, found: set[str]) -> None:
    version = None
    if "river_migration" in found:
        ((version,),) = _rows(schema_editor, "schema_version")
    where = "an unknown version" if version is None else f"version {version}"
    if version is not None and version > RIVER_VERSION:
        advice = "Use a newer release of django-riverqueue."
    elif version != RIVER_VERSION:
        advice = "Bring them there with River's own 'river migrate-up', then migrate again."
    elif missing := TABLES - found:
        where += f", but lacks {' and '.join(sorted(missing))}"
        advice = "Restore what is missing, then migrate again."
    else:
        return
    raise MigrationError(
        f"This database holds tables of River at {where}; django_river adopts version {RIVER_VERSION}. {advice}"
    )


def _are_ours(schema_editor: BaseDatabaseSchemaEditor) -> bool:
    return bool(_rows(schema_editor, "schema_is_ours")[0][0])


def _tables(schema_editor: BaseDatabaseSchemaEditor) -> set[str]:
    return {name for (name,) in _rows(schema_editor, "schema_tables")}


def _rows(schema_editor: BaseDatabaseSchemaEditor, statement: str) -> list[tuple[Any, ...]]:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(SQL[statement])
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
