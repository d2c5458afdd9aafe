"""Column types of River's tables that Django lacks, each in its own form per database.

On Postgres they are River's own (an enum, arrays, a bit mask); on SQLite text and integers.
"""

from __future__ import annotations

import json
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.types.json import Jsonb

from django_river.jobs.states import State


class StateField(models.CharField):
    """``river_job_state``: one of the eight states."""

    description = "The state of a job"

    def __init__(self, **kwargs: Any) -> None:
        kwargs["max_length"] = 16
        kwargs["choices"] = [(state.value, state.value) for state in State]
        super().__init__(**kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        del kwargs["max_length"], kwargs["choices"]
        return name, path, args, kwargs

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        if connection.vendor == "postgresql":
            return "river_job_state"
        return super().db_type(connection)


class BitMaskField(models.PositiveSmallIntegerField):
    """``bit(8)``: a set of states, as an integer in Python (PROTOCOL 3)."""

    description = "A set of states"

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        if connection.vendor == "postgresql":
            return "bit(8)"
        return super().db_type(connection)

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> int | None:
        return int(value, 2) if isinstance(value, str) else value

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        value = super().get_db_prep_value(value, connection, prepared)
        return f"{value:08b}" if value is not None and connection.vendor == "postgresql" else value


class _ArrayField(models.Field):
    """A list: an array on Postgres, JSON text on SQLite."""

    postgres_type: str

    def db_type(self, connection: BaseDatabaseWrapper) -> str | None:
        return self.postgres_type if connection.vendor == "postgresql" else "text"

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> list[Any] | None:
        if value is None:
            return None
        if isinstance(value, list):
            return [self.item_from_db(item) for item in value]
        decoded: list[Any] = json.loads(value)
        return decoded

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:
        if value is None:
            return None
        if connection.vendor == "postgresql":
            return [self.item_to_postgres(item) for item in value]
        return json.dumps(list(value))

    def to_python(self, value: Any) -> Any:
        return json.loads(value) if isinstance(value, str) else value

    def value_to_string(self, obj: models.Model) -> str:
        return json.dumps(self.value_from_object(obj))

    def item_from_db(self, item: Any) -> Any:
        return item

    def item_to_postgres(self, item: Any) -> Any:
        return item


class TextArrayField(_ArrayField):
    """``text[]``."""

    description = "A list of texts"
    postgres_type = "text[]"


class TagsField(_ArrayField):
    """``varchar(255)[]``."""

    description = "Tags"
    postgres_type = "varchar(255)[]"


class JSONArrayField(_ArrayField):
    """``jsonb[]``: a list of JSON objects."""

    description = "A list of JSON objects"
    postgres_type = "jsonb[]"

    def item_from_db(self, item: Any) -> Any:
        return json.loads(item) if isinstance(item, str) else item

    def item_to_postgres(self, item: Any) -> Any:
        return Jsonb(item)
