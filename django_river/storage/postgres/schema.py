"""Creates River's tables, or adopts those that River made, and takes them away again."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from django_river.exceptions import MigrationError
from django_river.storage.statements import load

SQL = load("django_river.storage.postgres")
RIVER_VERSION = 7
TABLES = 5


def create_or_adopt(schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Leave River's tables at version 7 with our indexes beside.

    Raises :class:`MigrationError` if River's tables are there at another version.
    """
    tables = _rows(schema_editor, "schema_tables")
    if tables:
        _check_version(schema_editor, {name for (name,) in tables})
    else:
        schema_editor.execute(SQL["schema_river"], params=None)
    schema_editor.execute(SQL["schema_indexes"], params=None)


def drop(schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Drop what we created: everything, or our indexes only if the tables were River's before they were ours."""
    if _rows(schema_editor, "schema_is_ours")[0][0]:
        schema_editor.execute(SQL["schema_drop"], params=None)
    else:
        schema_editor.execute(SQL["schema_drop_indexes"], params=None)


def _check_version(schema_editor: BaseDatabaseSchemaEditor, tables: set[str]) -> None:
    version = None
    if "river_migration" in tables:
        ((version,),) = _rows(schema_editor, "schema_version")
    if version != RIVER_VERSION or len(tables) != TABLES:
        raise MigrationError(
            f"This database holds tables of River at version {version or 'unknown'}; django_river adopts version "
            f"{RIVER_VERSION}. Bring River's tables there with River's own 'river migrate-up', then migrate again."
        )


def _rows(schema_editor: BaseDatabaseSchemaEditor, statement: str) -> list[tuple[Any, ...]]:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(SQL[statement])
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
