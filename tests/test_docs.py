"""What the documentation says is so."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import re
import sys
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from types import ModuleType
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from django.core.management import load_command_class
from django.core.management.base import BaseCommand
from django.dispatch import Signal
from msgspec import Meta

import django_river
from django_river import (
    JobContext,
    JobFunction,
    State,
    Unique,
    conf,
    leader_options,
    long_job_options,
    operations,
    signals,
)
from django_river.jobs import retry
from django_river.jobs.arguments import Arguments
from django_river.jobs.cron import DESCRIPTORS
from django_river.jobs.definition import JobOptions, default_kind
from django_river.jobs.periodic import SETTING_KEYS
from django_river.jobs.registry import registry
from django_river.jobs.states import TRANSITIONS
from django_river.management.commands import river_check, runworkers
from tests.pages import DOCS, blocks, column, pages, table, text_of

ROOT = DOCS.parent
#: Where problems with the settings are found.
CHECKING = ("conf.py", "option.py", "leader_options.py", "checks.py")
PYTHON = [(page, block) for page in pages() for block in blocks(page, "python")]


class Colour(Enum):
    RED = "red"


@dataclass
class Address:
    street: str
    city: str


#: What the table of types speaks of.
NAMES = {
    thing.__name__: thing
    for thing in (
        Address, Annotated, Any, Colour, Decimal, Literal, Meta, UUID, date, datetime, time, timedelta,
    )
} | {"UTC": UTC}  # fmt: skip


def options_table(number):
    return [
        (name.strip("`"), ast.literal_eval(default.strip("`")), takes, meaning)
        for name, default, takes, meaning in table("settings", "Option", number=number)
    ]


def described(options):
    return [(option.name, option.default, option.takes, option.meaning) for option in options]


class TestSettings:
    def test_lists_every_option_with_its_default_and_meaning(self):
        assert options_table(0) == described(conf.OPTIONS)

    def test_lists_every_option_of_a_queue(self):
        assert options_table(1) == described(conf.QUEUE_OPTIONS)

    def test_lists_every_option_of_the_election(self):
        assert options_table(2) == described(leader_options.ELECTION_OPTIONS)

    def test_lists_every_option_of_isolation(self):
        assert options_table(3) == described(long_job_options.ISOLATION_OPTIONS)

    def test_lists_every_option_of_adaptive_rescue(self):
        assert options_table(4) == described(long_job_options.ADAPTIVE_OPTIONS)


class TestChecks:
    @pytest.fixture
    def ids(self):
        sources = [(ROOT / "django_river" / name).read_text() for name in CHECKING]
        return sorted({id for source in sources for id in re.findall(r'"([EW]\d{3})"', source)})

    def test_every_check_has_its_section(self, ids):
        headings = re.findall(r"^## django_river\.(\w+)$", text_of("checks"), re.MULTILINE)

        assert headings == ids

    def test_every_section_has_the_anchor_that_the_hint_names(self, ids):
        anchors = re.findall(r"^\((.*)\)=$", text_of("checks"), re.MULTILINE)

        assert anchors == [f"django-river-{id.lower()}" for id in ids]


class TestStateMachine:
    def test_lists_every_way(self):
        rows = {(state(old), state(new)): why for old, new, why in table("state-machine", "From")}

        assert rows == TRANSITIONS

    def test_lists_every_state(self):
        assert sorted(column("state-machine", "State")) == sorted(State)


def state(cell):
    return None if cell == "no row" else State(cell.strip("`"))


class TestJobs:
    def test_lists_every_option_of_a_job(self):
        options = {"kind", "aliases", *(field.name for field in fields(JobOptions))}

        assert set(column("jobs", "Option")) == options

    def test_lists_every_option_for_one_job(self):
        options = set(inspect.signature(JobFunction.using).parameters) - {"self"}

        assert set(column("enqueuing", "Option")) == options

    def test_lists_every_option_of_unique_jobs(self):
        assert column("unique-jobs", "Option") == [field.name for field in fields(Unique)]

    def test_names_kinds_as_they_are(self):
        for path, kind in table("jobs", "The function"):
            module, _, name = re.sub(r"`| \(.*", "", path).rpartition(".")
            function = ModuleType(name)
            function.__module__, function.__qualname__ = module, name

            assert default_kind(function) == kind.strip("`")

    def test_names_what_a_context_has(self):
        names = [name.partition("(")[0] for name in column("jobs", "Member")]

        assert names == [name for name in names if hasattr(JobContext(id=1), name)]

    def test_names_policies_with_their_defaults(self):
        policies = [getattr(retry, name) for name in django_river.__all__ if "Retry" in name]

        assert sorted(column("jobs", "Policy")) == sorted(map(signature, policies))

    @pytest.mark.parametrize("row", table("jobs", "Annotation"), ids=lambda row: row[0])
    def test_says_how_arguments_are_stored(self, row):
        annotation, argument, stored = (re.search(r"`([^`]+)`$", cell)[1] for cell in row)
        given = eval(argument, NAMES)
        arguments = Arguments(function_of(eval(annotation, NAMES)), kind="k")

        raw = arguments.encode((given,), {}, limit=1000)

        assert raw.decode() == f'{{"x":{stored}}}'
        assert arguments.decode(raw) == {"x": given}


def signature(policy):
    def written(field):
        if field.default is not MISSING:
            return f"{field.name}={field.default!r}"
        return field.name if field.default_factory is MISSING else f"{field.name}={field.default_factory()!r}"

    return f"{policy.__name__}({', '.join(map(written, fields(policy)))})"


def function_of(annotation):
    def function(x): ...

    function.__annotations__["x"] = annotation
    return function


class TestWorkers:
    @pytest.fixture
    def parser(self):
        return load_command_class("django_river", "runworkers").create_parser("manage.py", "runworkers")

    def test_lists_every_flag(self, parser):
        django = BaseCommand().create_parser("manage.py", "any")._option_string_actions
        flags = {flag for flag in parser._option_string_actions if flag not in django} - {"--child-of"}

        assert {cell.split()[0] for cell in column("workers", "Flag")} == flags

    def test_writes_flags_as_they_are_taken(self, parser):
        examples = [cell.replace("N", "2").replace(" S", " 5") for cell in column("workers", "Flag")]

        for example in examples:
            parser.parse_args(example.split())

    def test_lists_every_exit_code(self):
        codes = {value for name, value in vars(runworkers).items() if name.startswith("EXIT_")}

        assert {int(row[0]) for row in table("workers", "Exit code")} - {2} == codes

    def test_lists_every_part_of_a_client(self):
        sources = "".join(path.read_text() for path in (ROOT / "django_river").glob("**/*.py"))

        for name in column("architecture", "Part"):
            assert f"class {name}" in sources


class TestPeriodicJobs:
    @pytest.fixture
    def parser(self):
        return load_command_class("django_river", "river_check").create_parser("manage.py", "river_check")

    def test_lists_every_option(self):
        assert column("periodic-jobs", "Option") == list(SETTING_KEYS)

    def test_names_every_descriptor(self):
        assert [name for name in DESCRIPTORS if f"`{name}`" not in text_of("periodic-jobs")] == []

    def test_lists_every_flag_of_the_check(self, parser):
        django = BaseCommand().create_parser("manage.py", "any")._option_string_actions
        flags = {flag for flag in parser._option_string_actions if flag not in django}

        assert {cell.split()[0] for cell in column("deployments", "Flag")} == flags

    def test_lists_every_exit_code_of_the_check(self):
        codes = {value for name, value in vars(river_check).items() if name.startswith("EXIT_")}

        assert {int(row[0]) for row in table("deployments", "Ends with")} == codes


def test_sql_to_be_run_by_hand_is_what_the_migration_runs():
    schema = " ".join((ROOT / "django_river/storage/postgres/schema.sql").read_text().split())

    for block in blocks("databases", "sql"):
        for statement in block.text.replace("CONCURRENTLY ", "").split(";"):
            assert " ".join(statement.split()) in schema


def test_every_signal_is_listed():
    known = [name for name, value in vars(signals).items() if isinstance(value, Signal)]

    assert column("signals", "Signal") == known


def test_every_operation_is_listed():
    functions = [f for _, f in inspect.getmembers(operations, inspect.isfunction)]
    known = {f.__name__ for f in functions if f.__module__ == operations.__name__ and f.__name__[0] != "_"}

    assert set(column("changing-jobs", "Function")) == known


def test_every_public_name_is_explained():
    everything = "".join(text_of(page) for page in pages())

    assert [name for name in django_river.__all__ if not re.search(rf"\b{name}\b", everything)] == []


def test_every_decision_is_listed():
    files = [path.stem for path in sorted((DOCS / "adr").glob("0*.md"))]

    assert re.findall(r"^(\d{4}-.*)$", text_of("adr/index"), re.MULTILINE) == files


@pytest.mark.parametrize("page", pages())
def test_every_file_that_is_named_exists(page):
    named = re.findall(r"`((?:django_river|tests|docs)/[\w/.-]+)`", text_of(page))

    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize(("page", "block"), PYTHON, ids=[page for page, _ in PYTHON])
def test_every_block_compiles_and_imports_what_there_is(page, block):
    tree = compile(block.text, page, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)

    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("django_river"):
            module = importlib.import_module(node.module)
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


@pytest.fixture
def shop(monkeypatch, settings):
    """An empty module ``shop.jobs`` for the jobs of a page, in a project with its queues."""
    settings.DJANGO_RIVER = {"QUEUES": {"default": {}, "emails": {}}}
    monkeypatch.setattr(registry, "_by_kind", {})
    package, jobs = ModuleType("shop"), ModuleType("shop.jobs")
    package.jobs = jobs
    monkeypatch.setitem(sys.modules, "shop", package)
    monkeypatch.setitem(sys.modules, "shop.jobs", jobs)
    return jobs


@pytest.mark.django_db
@pytest.mark.parametrize("page", [page for page in pages() if blocks(page, "pycon")])
def test_every_session_goes_as_written(page, shop):
    for block in blocks(page, "python"):
        if "@job" in block.text:
            exec(compile(block.text, page, "exec"), shop.__dict__)
    session = "\n".join(block.text for block in blocks(page, "pycon"))
    example = doctest.DocTestParser().get_doctest(session, {}, page, page, 0)
    said: list[str] = []

    failed, tried = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)

    assert tried
    assert not failed, "".join(said)
