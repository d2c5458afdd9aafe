"""A job's arguments: read from a signature, checked when enqueued, decoded when worked.

The signature is that of the job's function; for a batch, that of the class of its items.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, get_type_hints

import msgspec
import msgspec.inspect
from msgspec import convert

from django_river.exceptions import ArgumentTypeError, ArgumentValueError, DefinitionError
from django_river.jobs.context import JobContext
from django_river.jobs.items import Factory, item_hints, item_parameters
from django_river.jobs.json import describe, encode_checked, encode_plain, lossy_places

_PLACE = re.compile(r" - at `\$\.?(?P<name>\w*)(?P<rest>[^`]*)`$")
_KEY_PLACE = re.compile(r" - at `key\(?.*?\$\.?(?P<name>\w*)(?P<rest>.*)`$")
_PLAIN = (
    msgspec.inspect.IntType,
    msgspec.inspect.StrType,
    msgspec.inspect.BoolType,
    msgspec.inspect.NoneType,
    msgspec.inspect.UnionType,
)
_REFUSED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Arguments:
    """The typed arguments of one function or class, as one JSON object keyed by parameter name.

    Built lazily by its definition, so that annotations may name what is defined later in the module.
    Raises :class:`DefinitionError` for signatures that cannot be stored.
    """

    def __init__(self, function: Callable[..., Any], *, kind: str) -> None:
        self.kind = kind
        parameters = _parameters(function)
        hints = type_hints(function, kind)
        self.takes_context = (
            not isinstance(function, type) and bool(parameters) and _is_context(parameters[0], hints)
        )
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
        self.fields = self._struct.__struct_fields__
        # Clock times are equal to those of no zone if their zone has to know the day: == does not notice a loss.
        self._has_clock_times = any(isinstance(t, msgspec.inspect.TimeType) for t in _types(self._struct))
        # Then what was checked cannot change on the way to JSON and back.
        self._is_plain = all(
            isinstance(found, _PLAIN)
            for field in msgspec.structs.fields(self._struct)
            for found in _types(field.type)
        )
        self._check_defaults(parameters)

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, limit: int) -> bytes:
        """Check the arguments of a call and encode them as one JSON object.

        Raises :class:`ArgumentTypeError` or :class:`ArgumentValueError` naming the job, the argument, what was
        expected and what came.
        """
        given = self._bind(args, kwargs)
        try:
            values = convert(given, self._struct)
        except msgspec.ValidationError as error:
            raise self._explained(error, given) from error
        if self._is_plain and (plain := encode_plain(values, limit=limit)) is not None:
            return plain
        raw = self._encode(values, limit)
        try:
            stored = self._decoder.decode(raw)
        except msgspec.ValidationError as error:
            raise self._explained(error, given) from error
        if stored != values or self._has_clock_times:
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
        return {name: getattr(values, name) for name in self.fields}

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
        given: dict[str, Any] = {}
        for index, value in enumerate(args):
            given[self.names[index]] = value
        for name, value in kwargs.items():
            if name in self._positional_only:
                raise ArgumentTypeError(
                    f"{self.kind}: argument {name!r} is positional-only, but was given by name"
                )
            if name in given:
                raise ArgumentTypeError(f"{self.kind}: argument {name!r} was given twice")
            given[name] = value
        return given

    def _encode(self, values: msgspec.Struct, limit: int) -> bytes:
        try:
            return encode_checked(values, what=f"{self.kind}: arguments", limit=limit)
        except (ArgumentTypeError, ArgumentValueError):
            # Say which one it is, if one alone is enough to fail.
            for name in self.fields:
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
                field_type = msgspec.structs.fields(self._struct)[self.fields.index(parameter.name)].type
                default = parameter.default
                value = msgspec.convert(
                    default.make() if isinstance(default, Factory) else default, field_type
                )
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
            return ArgumentTypeError(f"{self.kind}: {text}; it takes {', '.join(self.fields) or 'none'}")
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


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    if isinstance(function, type):
        return item_parameters(function)
    return list(inspect.signature(function).parameters.values())


def type_hints(function: Callable[..., Any], kind: str) -> dict[str, Any]:
    """What the parameters are annotated with; what a job returns is nobody's business.

    Raises :class:`DefinitionError` for annotations that do not resolve.
    """
    function = inspect.unwrap(function)
    try:
        if isinstance(function, type):
            return item_hints(function)
        annotations = {name: hint for name, hint in function.__annotations__.items() if name != "return"}
        holder = type("Parameters", (), {"__annotations__": annotations})
        return get_type_hints(holder, globalns=getattr(function, "__globals__", None), include_extras=True)
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
    except TypeError as error:
        raise DefinitionError(f"{kind}: its arguments cannot be stored: {error}") from error
    for field in msgspec.structs.fields(struct):
        for found in _types(field.type):
            if isinstance(found, msgspec.inspect.CustomType):
                raise DefinitionError(
                    f"{kind}: argument {field.name!r} takes {found.cls.__name__}, which JSON cannot hold; "
                    f"pass what it can be found by, such as its primary key"
                )
    return struct


def _types(hint: Any) -> Iterator[msgspec.inspect.Type]:
    """All types that an annotation is made of."""
    seen: dict[int, Any] = {}
    waiting: list[Any] = [msgspec.inspect.type_info(hint)]
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen[id(found)] = found
        if isinstance(found, msgspec.inspect.Type):
            yield found
        if isinstance(found, tuple):
            waiting += found
        elif isinstance(found, msgspec.inspect.Type | msgspec.inspect.Field):
            waiting += (getattr(found, name) for name in found.__struct_fields__)


def _field_default(default: Any) -> Any:
    if isinstance(default, Factory):
        return msgspec.field(default_factory=default.make)
    if isinstance(default, list | dict | set | bytearray):
        return msgspec.field(default_factory=lambda: copy.copy(default))
    return msgspec.field(default=default)
