"""The app ``digests``."""

from django.apps import AppConfig


class DigestsConfig(AppConfig):
    """Nothing to connect: the jobs in ``jobs.py`` are found by django_river."""

    name = "digests"
