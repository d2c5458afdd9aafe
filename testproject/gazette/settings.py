"""Settings of the Gazette. What differs between machines comes from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import django
import environ

env = environ.Env()

BASE_DIR = Path(__file__).resolve().parent.parent
#: Where the site writes: its SQLite file, uploads, the workers' log.
HOME = Path(env("GAZETTE_HOME", default=str(BASE_DIR / "var")))
HOME.mkdir(parents=True, exist_ok=True)

DEBUG = env.bool("DEBUG", default=True)
SECRET_KEY = env("SECRET_KEY", default="for a machine of your own only")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
ROOT_URLCONF = "gazette.urls"
WSGI_APPLICATION = "gazette.wsgi.application"
USE_TZ = True
TIME_ZONE = env("TIME_ZONE", default="UTC")
STATIC_URL = "static/"
MEDIA_ROOT = HOME / "uploads"
LOGIN_URL = "admin:login"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_river",
    "library",
    "digests",
    "demo",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
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


def _database() -> dict[str, Any]:
    """``DATABASE_URL``, or an SQLite file; SQLite with what a job queue asks of it."""
    database: dict[str, Any] = dict(env.db("DATABASE_URL", default=f"sqlite:///{HOME / 'gazette.sqlite3'}"))
    if database["ENGINE"] == "django.db.backends.sqlite3":
        database["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
    return database


DATABASES = {"default": _database()}

# Ingestion waits for disks, indexing for the processor, links and e-mails for others: so each has a queue of its own.
# The live digest is made by the leader alone, out of a cache that only the leader keeps.
DJANGO_RIVER = {
    "QUEUES": {
        "ingest": {"MAX_WORKERS": 4},
        # Each publisher has a queue of its own, added when its first document comes: see library/publishers.py.
        "publisher-*": {"MAX_WORKERS": 2},
        "index": {"MAX_WORKERS": 2},
        "links": {"MAX_WORKERS": 10},
        "emails": {"MAX_WORKERS": 2},
        "live": {"MAX_WORKERS": 1, "LEADER_ONLY": True},
    },
    "JOB_TIMEOUT": 120,
}

#: Whether there is a live digest: it would keep the demo's bursts of workers from ending.
LIVE_DIGEST = env.bool("LIVE_DIGEST", default=True)
#: How long the cache of the live digest takes to build at least, in seconds.
LIVE_DIGEST_BUILD_SECONDS = env.float("LIVE_DIGEST_BUILD_SECONDS", default=3.0)

DEFAULT_FROM_EMAIL = "The Gazette <gazette@example.org>"
#: Where new documents are announced; nowhere, if it is empty.
CATALOGUE_URL = env("CATALOGUE_URL", default="")

_SMTP = {"host": env("EMAIL_HOST", default="localhost"), "port": env.int("EMAIL_PORT", default=25)}
if django.VERSION >= (6, 1):
    MAILERS = {"default": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend", "OPTIONS": _SMTP}}
else:
    EMAIL_HOST, EMAIL_PORT = _SMTP["host"], _SMTP["port"]
