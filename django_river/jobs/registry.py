"""All jobs this process knows, by kind. Filled by ``@job``; nothing that a row names runs unless it is here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django_river.exceptions import DefinitionError
from django_river.jobs.definition import Definition


class Registry:
    """Definitions by kind and by alias."""

    def __init__(self) -> None:
        self._by_kind: dict[str, Definition[..., Any]] = {}

    def add(self, definition: Definition[..., Any]) -> None:
        """Register a definition under its kind and aliases.

        Defining the same function again replaces it (a reload). Raises :class:`DefinitionError` if another
        function holds one of the names.
        """
        names = (definition.kind, *definition.aliases)
        for name in names:
            other = self._by_kind.get(name)
            if other is not None and other.place != definition.place:
                raise DefinitionError(
                    f"kind {name!r} is defined twice, by {other.place} and by {definition.place}; "
                    f"give one of them another kind="
                )
        for name in names:
            self._by_kind[name] = definition

    def get(self, kind: str) -> Definition[..., Any] | None:
        """The definition that answers to this kind, if any."""
        return self._by_kind.get(kind)

    def discard(self, definition: Definition[..., Any]) -> None:
        """Forget a definition; for tests."""
        for name in (definition.kind, *definition.aliases):
            if self._by_kind.get(name) is definition:
                del self._by_kind[name]

    @property
    def kinds(self) -> list[str]:
        """Every kind and alias, sorted."""
        return sorted(self._by_kind)

    def __iter__(self) -> Iterator[Definition[..., Any]]:
        return iter({id(definition): definition for definition in self._by_kind.values()}.values())


registry = Registry()
