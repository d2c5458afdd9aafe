"""Settings of the test suite, and of the processes that its tests start."""

from __future__ import annotations

import json
import os

import django
import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()

SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
}

SECRET_KEY = "not secret: tests only"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "Europe/Paris"
ROOT_URLCONF = "tests.urls"
STATIC_URL = "/static/"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_river",
    "tests",
    "tests.shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]


def _database() -> dict[str, object]:
    """``RIVER_TEST_DATABASE`` says which; ``DATABASE_URL`` where, if it is one of these.

    Without a URL the fixtures start a Postgres, or make a file, when the first test asks for a database.
    """
    url = os.environ.get("DATABASE_URL", "")
    is_file = url.startswith("sqlite")
    vendor = os.environ.get("RIVER_TEST_DATABASE") or ("sqlite" if is_file else "postgres")
    if vendor == "sqlite":
        database = env.db_url_config(url if is_file else "sqlite://:memory:")
        return {**database, "OPTIONS": SQLITE_OPTIONS}
    if vendor == "postgres":
        return dict(
            env.db_url_config(url if url and not is_file else "postgres://postgres@127.0.0.1:1/postgres")
        )
    raise ImproperlyConfigured(f"RIVER_TEST_DATABASE must be 'postgres' or 'sqlite', not {vendor!r}")


DATABASES = {"default": _database()}

DJANGO_RIVER: dict[str, object] = {
    "QUEUES": {"default": {"MAX_WORKERS": 10}, "other": {"MAX_WORKERS": 2}},
    # What a test wants of the processes that it starts.
    **json.loads(os.environ.get("RIVER_TEST_SETTINGS", "{}")),
}
if django.VERSION >= (6, 0):
    TASKS = {"default": {"BACKEND": "django_river.tasks.RiverBackend"}}
