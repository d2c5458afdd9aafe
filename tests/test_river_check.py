"""``manage.py river_check``: what it compares, what it says, how it ends."""

from __future__ import annotations

import json
import os
import re
import subprocess

import pytest
from django.core.management import call_command

from django_river import storage
from django_river.jobs import periodic as declarations
from django_river.management.commands import river_check as module
from django_river.models import Client, PeriodicRegistry
from tests.conftest import ROOT
from tests.factories import ClientFactory
from tests.periodic import declare, registry_of


@pytest.fixture
def run(settings, monkeypatch, capsys):
    """Runs the command for a project with these items of ``PERIODIC``; its exit code, output and errors."""

    def run(*flags, items=(), **options):
        settings.DJANGO_RIVER = {"PERIODIC": list(items), "RELEASE": "2", **options}
        with pytest.raises(SystemExit) as end:
            call_command("river_check", *flags)
        said = capsys.readouterr()
        return end.value.code, said.out, said.err

    return run


def item(name="work", **given):
    return {"job": "tests.shop.jobs.nothing", "name": name, "every": 3600, **given}


@pytest.fixture
def held(using):
    """Puts a registry into force, with a client that holds it unless nobody is to be alive."""

    def hold(*declared, release="2", alive=True):
        registry = registry_of(*declared)
        periodic = storage.for_periodic(using)
        periodic.registry_publish(registry.hash, release, registry.canonical_json)
        periodic.registry_enforce(registry.hash, release)
        if alive:
            ClientFactory(registry_hash=registry.hash, release=release)
        return registry

    return hold


class TestPrint:
    def test_is_hash_and_canonical_json(self, run):
        registry = registry_of(declare())

        assert run("--print", items=[item()]) == (0, f"{registry.hash}\n{registry.canonical_json}\n", "")

    def test_is_what_it_does_unasked(self, run):
        assert run(items=[item()]) == run("--print", items=[item()])

    def test_may_be_json(self, run):
        code, out, _ = run("--print", "--json", items=[item()])
        registry = registry_of(declare())

        assert code == 0
        assert json.loads(out) == {"hash": registry.hash, "registry": json.loads(registry.canonical_json)}

    def test_needs_declarations_that_can_be_used(self, run):
        assert run(items=[5]) == (2, "", "Cannot tell: DJANGO_RIVER['PERIODIC'][0]: must be a dict, got 5.\n")

    def test_needs_settings_that_can_be_used(self, run):
        code, out, _ = run("--json", NOTIFY="no")

        assert code == 2
        assert json.loads(out)["result"] == "unknown"


class TestCompare:
    @pytest.fixture
    def file(self, tmp_path, run):
        """A file with what was printed for one entry."""

        def write(*flags):
            path = tmp_path / "registry"
            path.write_text(run("--print", *flags, items=[item()])[1])
            return str(path)

        return write

    @pytest.mark.parametrize("flags", [[], ["--json"]])
    def test_finds_the_same(self, run, file, flags):
        path = file(*flags)

        assert run("--compare", path, items=[item()]) == (0, f"The same as {path}.\n", "")

    @pytest.mark.parametrize("flags", [[], ["--json"]])
    def test_finds_what_differs(self, run, file, flags):
        path = file(*flags)

        assert run("--compare", path, items=[item(every=60)]) == (
            1,
            f"Differs from {path}.\n  ~ work: every: here 60, there 3600\n",
            "",
        )

    def test_says_it_to_programs(self, run, file):
        code, out, _ = run("--compare", file(), "--json", items=[item("new")])

        said = json.loads(out)
        assert code == 1
        assert said["result"] == "differs"
        assert said["hash"] == {
            "ours": registry_of(declare("new")).hash,
            "theirs": registry_of(declare()).hash,
        }
        assert ([e["name"] for e in said["added"]], [e["name"] for e in said["missing"]]) == (
            ["new"],
            ["work"],
        )

    @pytest.mark.parametrize(
        "text", ["", "{}", "abc", "abc\n[]", 'abc\n{"entries": [1]}', '{"hash": 1}', "\xff"]
    )
    def test_cannot_tell_from_anything_else(self, run, tmp_path, text):
        path = tmp_path / "other"
        path.write_text(text, encoding="latin-1")
        code, out, err = run("--compare", str(path), items=[item()])

        assert (code, out) == (2, "")
        assert err.startswith(f"Cannot tell: {path} does not hold what --print writes: ")

    def test_cannot_tell_without_a_file(self, run, tmp_path):
        assert run("--compare", str(tmp_path / "none"))[0] == 2


class TestAgainstDatabase:
    def test_finds_the_same(self, run, held):
        held(declare())

        code, out, err = run("--against-database", items=[item()])

        assert (code, err) == (0, "")
        assert out.splitlines() == [
            "The same as what is in force in database 'default' (release 2, 1 clients alive).",
            "A worker of release 2 would join those that run.",
        ]

    @pytest.mark.parametrize(
        ("options", "would"),
        [
            ({"RELEASE": "3"}, "A worker of release 3 would take over."),
            ({"RELEASE": "2"}, "A worker of release 2 would refuse to start."),
            ({"RELEASE": "1"}, "A worker of release 1 would refuse to start."),
            (
                {"RELEASE": "1", "ON_MISMATCH": "follow"},
                "A worker of release 1 would work jobs and never lead.",
            ),
        ],
    )
    def test_says_what_differs_and_what_would_come_of_it(self, run, held, options, would):
        held(declare(every=60))
        code, out, _ = run("--against-database", items=[item()], **options)

        assert code == 1
        assert out.splitlines() == [
            "Differs from what is in force in database 'default' (release 2, 1 clients alive).",
            "  ~ work: every: here 3600, there 60",
            would,
        ]

    def test_needs_no_worker(self, run, held):
        held(declare(every=60), alive=False)
        code, out, _ = run("--against-database", "--json", items=[item()])

        assert code == 1
        assert json.loads(out)["would"] == "take over"

    def test_cannot_tell_while_nothing_has_been_in_force(self, run, using):
        assert run("--against-database") == (
            2,
            "",
            "Cannot tell: nothing is in force in database 'default' yet: any worker may start\n",
        )

    def test_cannot_tell_of_a_database_that_is_not_there(self, run):
        assert run("--against-database", "--database", "nowhere") == (
            2,
            "",
            "Cannot tell: unknown database 'nowhere'; known: default\n",
        )

    def test_writes_nothing(self, run, held):
        held(declare(every=60))
        before = list(Client.objects.values()), list(PeriodicRegistry.objects.values())
        run("--against-database", items=[item()])

        assert (list(Client.objects.values()), list(PeriodicRegistry.objects.values())) == before


def test_decorators_count_as_well(run, monkeypatch):
    declared = declarations.Declarations()
    declared.add(declare())
    monkeypatch.setattr("django_river.registration.declared", declared)

    assert run()[1].startswith(registry_of(declare()).hash)


def test_exit_codes_are_as_documented():
    assert (module.EXIT_SAME, module.EXIT_DIFFERS, module.EXIT_UNKNOWN) == (0, 1, 2)


@pytest.mark.parametrize(
    ("printed", "code", "is_deployed"),
    [
        ({"result": "same", "would": "join"}, 0, True),
        ({"result": "differs", "would": "take over"}, 1, True),
        ({"result": "differs", "would": "refuse"}, 1, False),
        ({"result": "unknown", "error": "nothing is in force yet"}, 2, True),
        # A module cannot be imported: Python itself ends with 1.
        (None, 1, False),
    ],
)
def test_the_step_before_a_deployment_stops_what_would_not_start(tmp_path, printed, code, is_deployed):
    page = (ROOT / "docs" / "deployments.md").read_text()
    (step,) = re.findall(r"```sh\n([^`]*--against-database --json[^`]*)```", page)
    answer = "" if printed is None else json.dumps(printed, indent=2)
    (tmp_path / "python").write_text(f"#!/bin/sh\nprintf %s '{answer}'\nexit {code}\n")
    (tmp_path / "python").chmod(0o755)

    done = subprocess.run(
        ["sh", "-ec", step],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        check=False,
    )

    assert (done.returncode == 0) is is_deployed
