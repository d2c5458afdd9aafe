"""What an item of a batch is: a class whose arguments are those of the job."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin, get_type_hints

from django_river.exceptions import DefinitionError
from django_river.jobs.batch import JobBatch


@dataclasses.dataclass(frozen=True, slots=True)
class Factory:
    """A default that is made anew for each item."""

    make: Callable[[], Any]


def item_type(function: Callable[..., Any], hints: Mapping[str, Any], *, kind: str) -> type:
    """The class that the function's one parameter names: ``batch: JobBatch[Word]``.

    Raises :class:`DefinitionError` if there is none.
    """
    (name,) = inspect.signature(function).parameters
    hint = hints.get(name)
    (found,) = get_args(hint) if get_origin(hint) is JobBatch else (None,)
    if not isinstance(found, type):
        raise DefinitionError(
            f"{kind}: a batch must say what its items are; annotate {name}: JobBatch[…] with a class, or give item="
        )
    return found


def item_hints(item: type) -> dict[str, Any]:
    """What the arguments of a class are annotated with."""
    hints = get_type_hints(item, include_extras=True)
    init = inspect.getattr_static(item, "__init__")
    if inspect.isfunction(init) and not dataclasses.is_dataclass(item):
        hints |= get_type_hints(init, include_extras=True)
    return hints


def item_parameters(item: type) -> list[inspect.Parameter]:
    """What a class is made from; a dataclass's factories stand as :class:`Factory`."""
    parameters = list(inspect.signature(item).parameters.values())
    if not dataclasses.is_dataclass(item):
        return parameters
    factories = {
        field.name: Factory(field.default_factory)
        for field in dataclasses.fields(item)
        if field.default_factory is not dataclasses.MISSING
    }
    return [
        parameter.replace(default=factories.get(parameter.name, parameter.default))
        for parameter in parameters
    ]


def check_takes_one(function: Callable[..., Any], *, place: str) -> None:
    """Refuse a batch function that cannot be called with its batch alone."""
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) != 1 or parameters[0].kind in (
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.VAR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    ):
        taken = ", ".join(map(str, parameters)) or "nothing"
        raise DefinitionError(f"{place}: a batch function takes the batch and nothing else, not {taken}")
