"""The app ``library``."""

from django.apps import AppConfig


class LibraryConfig(AppConfig):
    """Connects the signals; the jobs in ``jobs.py`` are found by django_river."""

    name = "library"

    def ready(self) -> None:
        from library import signals  # noqa: F401, PLC0415  (connects itself)
