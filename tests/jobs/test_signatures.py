"""What a function's parameters may be, and which of them is the running job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from django_river import JobContext
from django_river.exceptions import ArgumentTypeError, DefinitionError
from django_river.jobs.arguments import Arguments

if TYPE_CHECKING:
    from nowhere import Nothing


def read(function) -> Arguments:
    return Arguments(function, kind="shop.job")


def sent(function, *args) -> bytes:
    return read(function).encode(args, {}, limit=1000)


def no_job(function) -> str:
    """Why a function cannot be a job."""
    with pytest.raises(DefinitionError) as info:
        read(function)
    return str(info.value)


@dataclass
class Box:
    inside: list[Box]
    zone: ZoneInfo | None = None


class TestContext:
    def test_is_the_first_parameter_by_annotation(self):
        def function(job: JobContext, a: int): ...

        assert read(function).takes_context
        assert sent(function, 1) == b'{"a":1}'
        with pytest.raises(ArgumentTypeError, match="takes 1 positional arguments, got 2"):
            sent(function, 1, 2)

    def test_is_the_first_parameter_by_name(self):
        assert read(lambda context, a: None).takes_context
        assert read(lambda context: None).fields == ()

    def test_is_not_one_that_is_annotated_otherwise(self):
        def function(context: dict[str, int]): ...

        assert not read(function).takes_context
        assert sent(function, {"a": 1}) == b'{"context":{"a":1}}'

    def test_is_not_another_parameter(self):
        def function(a: int, job: JobContext): ...

        assert "argument 'job' takes JobContext, which JSON cannot hold" in no_job(function)


class TestSignatures:
    def test_of_any_number_of_arguments_are_refused(self):
        assert no_job(lambda *pages: None) == (
            "shop.job: a job cannot take *pages; name each argument, or take one dict"
        )
        assert "a job cannot take **options" in no_job(lambda **options: None)

    def test_with_unknown_names_are_refused(self):
        def function(x: Nothing): ...

        assert no_job(function) == (
            "shop.job: cannot resolve the annotations of its arguments: name 'Nothing' is not defined"
        )

    def test_with_types_that_json_cannot_tell_apart_are_refused(self):
        def function(x: datetime | str): ...

        assert no_job(function).startswith(
            "shop.job: its arguments cannot be stored: Type unions may not contain"
        )

    @pytest.mark.parametrize("hint", [ZoneInfo, list[ZoneInfo], dict[str, ZoneInfo | None], "Box"])
    def test_with_classes_that_json_has_no_form_for_are_refused(self, hint):
        def function(x): ...

        function.__annotations__["x"] = hint

        assert "argument 'x' takes ZoneInfo, which JSON cannot hold" in no_job(function)

    @pytest.mark.parametrize("default", ["1", None, [1]])
    def test_with_defaults_of_another_type_are_refused(self, default):
        def function(x: int = default): ...

        why = no_job(function)
        assert why.startswith("shop.job: default of 'x' does not fit its annotation: Expected `int`, got")

    @pytest.mark.parametrize(
        "default", [(1,), UUID(int=1), float("nan"), "\0", object()], ids=lambda value: type(value).__name__
    )
    def test_with_defaults_that_json_cannot_hold_are_refused(self, default):
        assert "default of 'x'" in no_job(lambda x=default: None)
