"""A job's arguments: read from the function's signature, checked when enqueued, decoded when worked."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_type_hints

import msgspec

from django_river.exceptions import ArgumentTypeError, ArgumentValueError, DefinitionError
from django_river.jobs.context import JobContext
from django_river.jobs.json import describe, encode_checked, lossy_places

_PLACE = re.compile(r" - at `\$\.?(?P<name>\w*)(?P<rest>[^`]*)`$")
_KEY_PLACE = re.compile(r" - at `key\(?.*?\$\.?(?P<name>\w*)(?P<rest>.*)`$")
_REFUSED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Arguments:
    """The typed arguments of one function, as one JSON object keyed by parameter name.

    Built lazily by its definition, so that annotations may name what is defined later in the module.
    Raises :class:`DefinitionError` for signatures that cannot be stored.
    """

    def __init__(self, function: Callable[..., Any], *, kind: str) -> None:
        self.kind = kind
        parameters = list(inspect.signature(function).parameters.values())
        hints = _type_hints(function, kind)
        self.takes_context = bool(parameters) and _is_context(parameters[0], hints)
        if self.takes_context:
            parameters = parameters[1:]
        for parameter in parameters:
            if parameter.kind in _REFUSED:
                raise DefinitionError(
                    f"{kind}: a job cannot take {parameter}; name each argument, or take one dict"
                )
        self.names = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        self._positional_only = tuple(p.name for p in parameters if p.kind is p.POSITIONAL_ONLY)
        self._struct = _struct(kind, parameters, hints)
        self._decoder = msgspec.json.Decoder(self._struct)
        self._fields = self._struct.__struct_fields__
        self._check_defaults(parameters)

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, limit: int) -> bytes:
        """Check the arguments of a call and encode them as one JSON object.

        Raises :class:`ArgumentTypeError` or :class:`ArgumentValueError` naming the job, the argument, what was
        expected and what came.
        """
        given = self._bind(args, kwargs)
        try:
            values = msgspec.convert(given, self._struct)
        except msgspec.ValidationError as error:
            raise self._explained(error, given) from error
        raw = self._encode(values, limit)
        try:
            stored = self._decoder.decode(raw)
        except msgspec.ValidationError as error:
            raise self._explained(error, given) from error
        if stored != values:
            for place, thing in lossy_places(values, stored):
                name, _, rest = place[1:].partition("[")
                raise ArgumentTypeError(
                    f"{self.kind}: argument {name!r}{' at [' + rest if rest else ''}: "
                    f"expected a JSON value, got {describe(thing)}"
                )
        return raw

    def decode(self, raw: bytes | str) -> dict[str, Any]:
        """Read stored arguments back, typed. Raises :class:`ArgumentTypeError` or :class:`ArgumentValueError`."""
        try:
            values = self._decoder.decode(raw)
        except msgspec.ValidationError as error:
            raise self._explained(error, {}) from error
        except msgspec.DecodeError as error:
            raise ArgumentValueError(f"{self.kind}: arguments are not JSON: {error}") from error
        return {name: getattr(values, name) for name in self._fields}

    def call(self, function: Callable[..., Any], values: dict[str, Any], context: JobContext) -> Any:
        """Call the function as its signature wants it."""
        first = (context,) if self.takes_context else ()
        positional = tuple(values.pop(name) for name in self._positional_only)
        return function(*first, *positional, **values)

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if len(args) > len(self.names):
            raise ArgumentTypeError(
                f"{self.kind}: takes {len(self.names)} positional arguments, got {len(args)}"
            )
        given = dict(zip(self.names, args, strict=False))
        for name, value in kwargs.items():
            if name in given:
                raise ArgumentTypeError(f"{self.kind}: argument {name!r} was given twice")
            given[name] = value
        return given

    def _encode(self, values: msgspec.Struct, limit: int) -> bytes:
        try:
            return encode_checked(values, what=f"{self.kind}: arguments", limit=limit)
        except (ArgumentTypeError, ArgumentValueError):
            # Say which one it is, if one alone is enough to fail.
            for name in self._fields:
                encode_checked(
                    getattr(values, name), what=f"{self.kind}: argument {name!r}", limit=limit, depth=1
                )
            raise

    def _check_defaults(self, parameters: list[inspect.Parameter]) -> None:
        """Defaults are stored with the job, so they must fit their annotations too."""
        for parameter in parameters:
            if parameter.default is parameter.empty:
                continue
            try:
                field_type = msgspec.structs.fields(self._struct)[self._fields.index(parameter.name)].type
                value = msgspec.convert(parameter.default, field_type)
                raw = encode_checked(value, what=f"{self.kind}: default of {parameter.name!r}", limit=1 << 20)
                stored = msgspec.json.decode(raw, type=field_type)
            except (msgspec.ValidationError, ArgumentTypeError, ArgumentValueError) as error:
                raise DefinitionError(
                    f"{self.kind}: default of {parameter.name!r} does not fit its annotation: {error}"
                ) from error
            for _, thing in lossy_places(value, stored):
                raise DefinitionError(
                    f"{self.kind}: default of {parameter.name!r} cannot be stored as JSON: {describe(thing)}"
                )

    def _explained(
        self, error: msgspec.ValidationError, given: Mapping[str, Any]
    ) -> ArgumentTypeError | ArgumentValueError:
        text = str(error).replace("`", "")
        match = _PLACE.search(str(error)) or _KEY_PLACE.search(str(error))
        if match is None or not match["name"]:
            if "missing required field" in text:
                text = text.replace("Object missing required field", "missing argument")
            else:
                text = text.replace("Object contains unknown field", "unknown argument")
            return ArgumentTypeError(f"{self.kind}: {text}; it takes {', '.join(self._fields) or 'none'}")
        said = str(error)[: match.start()].replace("`", "")
        said = said[0].lower() + said[1:]
        name, rest = match["name"], match["rest"]
        came = f", came {describe(given[name])}" if name in given else ""
        place = f" at {rest}" if rest else ""
        cls = ArgumentTypeError if _is_about_type(said) else ArgumentValueError
        return cls(f"{self.kind}: argument {name!r}{place}: {said}{came}")


def _is_about_type(text: str) -> bool:
    return ", got " in text or "missing" in text or "unknown field" in text


def _is_context(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> bool:
    return hints.get(parameter.name) is JobContext or (
        parameter.name == "context" and parameter.name not in hints
    )


def _type_hints(function: Callable[..., Any], kind: str) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except Exception as error:
        raise DefinitionError(f"{kind}: cannot resolve the annotations of its arguments: {error}") from error


def _struct(kind: str, parameters: list[inspect.Parameter], hints: Mapping[str, Any]) -> type[msgspec.Struct]:
    fields: list[Any] = []
    for parameter in parameters:
        hint = hints.get(parameter.name, Any)
        if parameter.default is parameter.empty:
            fields.append((parameter.name, hint))
        else:
            fields.append((parameter.name, hint, _field_default(parameter.default)))
    try:
        struct = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)
        msgspec.json.Decoder(struct)
        described = msgspec.inspect.type_info(struct)
    except TypeError as error:
        raise DefinitionError(f"{kind}: its arguments cannot be stored: {error}") from error
    assert isinstance(described, msgspec.inspect.StructType)
    for field in described.fields:
        for cls in _unstorable(field.type, set()):
            raise DefinitionError(
                f"{kind}: argument {field.name!r} takes {cls.__name__}, which JSON cannot hold; "
                f"pass what it can be found by, such as its primary key"
            )
    return struct


def _unstorable(described: Any, seen: set[int]) -> Iterator[type]:
    """Classes inside a type that msgspec knows nothing about: a model, say."""
    if id(described) in seen:
        return
    seen.add(id(described))
    if isinstance(described, msgspec.inspect.CustomType):
        yield described.cls
    for name in ("item_type", "key_type", "value_type", "type"):
        inner = getattr(described, name, None)
        if isinstance(inner, msgspec.inspect.Type):
            yield from _unstorable(inner, seen)
    for inner in (*getattr(described, "types", ()), *getattr(described, "item_types", ())):
        yield from _unstorable(inner, seen)
    for field in getattr(described, "fields", ()):
        yield from _unstorable(field.type, seen)


def _field_default(default: Any) -> Any:
    if isinstance(default, list | dict | set | bytearray):
        return msgspec.field(default_factory=lambda: copy.copy(default))
    return msgspec.field(default=default)
