"""What holds the package together (docs: architecture), as far as a machine can see it."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import global_settings
from django.utils.module_loading import import_string

import django_river
from django_river.storage import DRIVERS, UPKEEPS
from django_river.storage.base import Storage
from django_river.storage.upkeep import Upkeep
from tests.conftest import ROOT

PACKAGE = Path(django_river.__file__).parent
MODULES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text())
    for path in PACKAGE.rglob("*.py")
    if "migrations" not in path.parts
}
THREADS = {"Process", "Thread", "ThreadPoolExecutor", "Timer", "start_new_thread", "to_thread"}
SQL = re.compile(
    r"\s*(SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH|TRUNCATE|CREATE|ALTER|DROP|SET|LISTEN|NOTIFY) \S"
)


def modules_with(kind: type[ast.AST], holds) -> set[str]:
    return {name for name, tree in MODULES.items() if any(holds(node) for node in nodes(tree, kind))}


def nodes(tree: ast.AST, kind: type[ast.AST]) -> Iterator[ast.AST]:
    return (node for node in ast.walk(tree) if isinstance(node, kind))


def called(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.ImportFrom):
        return {f"{node.module}.{alias.name}" for alias in node.names}
    return {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()


def settings_read(tree: ast.AST) -> set[str]:
    """The settings that a module reads by name; one that it reads in another way is ``?``."""
    imports = (
        alias for node in nodes(tree, ast.ImportFrom) if node.module == "django.conf" for alias in node.names
    )
    own = {alias.asname or alias.name for alias in imports}
    named = [
        node
        for node in nodes(tree, ast.Attribute)
        if isinstance(node.value, ast.Name) and node.value.id in own
    ]
    used = [node for node in nodes(tree, ast.Name) if node.id in own]
    return {node.attr for node in named} | ({"?"} if len(used) > len(named) else set())


def test_imports_go_down_the_layers():
    # In a process of its own: it configures the logging of the one that it runs in.
    code = "import sys, importlinter.cli as cli; sys.exit(cli.lint_imports(no_cache=True))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_threads_start_in_three_places():
    assert modules_with(ast.Call, lambda call: called(call) in THREADS) <= {
        "service.py",
        "work/event_loop.py",
        "work/threads.py",
    }


def test_the_package_imports_without_settings_and_without_models():
    code = "import sys, django_river; sys.exit('django_river.models' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_sql_stands_in_storage():
    def is_sql(constant: ast.Constant) -> bool:
        return isinstance(constant.value, str) and bool(SQL.match(constant.value))

    outside = {name for name in modules_with(ast.Constant, is_sql) if not name.startswith("storage/")}

    assert outside == set()


def test_cursors_are_opened_in_storage():
    names = {"cursor", "executemany", "chunked_cursor"}

    outside = {
        name
        for name in modules_with(ast.Attribute, lambda node: node.attr in names)
        if not name.startswith("storage/")
    }

    assert outside == set()


def test_our_settings_are_read_in_conf():
    read = {name: settings_read(tree) for name, tree in MODULES.items() if name != "conf.py"}

    assert {
        name: others for name, names in read.items() if (others := names - set(dir(global_settings)))
    } == {}


def test_fields_take_one_name_from_psycopg():
    names = set().union(*(imported(node) for node in ast.walk(MODULES["fields.py"])))

    assert {name for name in names if name.startswith("psycopg")} == {"psycopg.types.json.Jsonb"}


@pytest.mark.parametrize("path", DRIVERS.values())
def test_a_driver_names_the_operations_of_the_contract_and_no_others(path):
    driver = importlib.import_module(path).Driver
    own = [part for part in driver.__mro__ if issubclass(part, Storage) and part is not Storage]
    public = {name for part in own for name in vars(part) if not name.startswith("_")}

    assert driver.__abstractmethods__ == frozenset()
    assert public - {"default_poll_interval", "can_notify"} == Storage.__abstractmethods__


@pytest.mark.parametrize("path", UPKEEPS.values())
def test_maintenance_names_the_operations_of_the_contract_and_no_others(path):
    upkeep = import_string(path)

    assert upkeep.__abstractmethods__ == frozenset()
    assert {name for name in vars(upkeep) if not name.startswith("_")} == Upkeep.__abstractmethods__


def test_what_is_public_is_listed_once_and_exists():
    assert len(set(django_river.__all__)) == len(django_river.__all__)
    assert [name for name in django_river.__all__ if not hasattr(django_river, name)] == []
