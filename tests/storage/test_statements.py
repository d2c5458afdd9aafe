"""Statements are named pieces of the ``.sql`` files of a package."""

from __future__ import annotations

import sys
from importlib.resources import files

import pytest

from django_river.storage.statements import load


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Makes a package of files."""

    def make(**files: str) -> str:
        name = f"statements_{abs(hash(tmp_path))}"
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        for file, text in files.items():
            (tmp_path / name / file.replace("_sql", ".sql").replace("_txt", ".txt")).write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return name

    return make


def test_are_loaded_by_name_without_comments(package):
    name = package(
        a_sql="-- About the file.\n\n-- name: one\n-- Why.\nSELECT 1\n    -- here\n    WHERE true;\n\n-- name: two\nSELECT 2;\n",
        b_sql="-- name: three\nSELECT 3",
        c_txt="-- name: four\nSELECT 4",
    )

    assert dict(load(name)) == {"one": "SELECT 1\n    WHERE true", "two": "SELECT 2", "three": "SELECT 3"}


def test_share_fragments_of_any_file(package):
    name = package(
        a_sql="-- name: one\nSELECT 1\n    -- include: due",
        b_sql="-- fragment: due\n-- Why.\nWHERE due\n\n-- name: two\n-- include: due\nLIMIT 1",
    )

    assert dict(load(name)) == {"one": "SELECT 1\nWHERE due", "two": "WHERE due\nLIMIT 1"}


def test_have_one_name_each(package):
    name = package(a_sql="-- name: one\nSELECT 1", b_sql="-- name: one\nSELECT 2")

    with pytest.raises(ValueError, match=f"statement 'one' stands twice in {name}"):
        load(name)


@pytest.mark.parametrize("package_name", ["django_river.storage.postgres", "django_river.storage.sqlite"])
def test_of_both_databases_are_used(package_name):
    """Each is run by the driver, the overview or the migration of its database."""
    code = "".join(file.read_text() for file in files(package_name).iterdir() if file.name.endswith(".py"))
    code += "".join(
        files("django_river.storage").joinpath(name).read_text() for name in ("overview.py", "periodic.py")
    )

    assert [name for name in load(package_name) if f'"{name}"' not in code] == []
