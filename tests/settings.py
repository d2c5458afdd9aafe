"""Settings of the test suite. The database is ``DATABASE_URL``, or SQLite in a file of its own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import environ

env = environ.Env()

SECRET_KEY = "not secret: tests only"
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
    url = os.environ.get("DATABASE_URL", "")
    if url and not url.startswith("sqlite"):
        return dict(env.db("DATABASE_URL"))
    folder = Path(os.environ.setdefault("RIVER_TEST_FOLDER", tempfile.mkdtemp(prefix="river-tests-")))
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(folder / "db.sqlite3"),
        "TEST": {"NAME": str(folder / "test.sqlite3")},
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
        },
    }


DATABASES = {"default": _database()}

DJANGO_RIVER: dict[str, object] = {
    "QUEUES": {"default": {"MAX_WORKERS": 10}, "other": {"MAX_WORKERS": 2}},
}
