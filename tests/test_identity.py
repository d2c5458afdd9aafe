"""Who a client is."""

from __future__ import annotations

from django_river import identity


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    def missing(name):
        raise identity.metadata.PackageNotFoundError

    monkeypatch.setattr(identity.metadata, "version", missing)
    assert identity.version() == "unknown"
