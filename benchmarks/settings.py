"""A Django project with nothing but jobs. What differs between runs comes by the environment."""

import json
import os

import environ

SECRET_KEY = "not secret: benchmarks only"
USE_TZ = True
INSTALLED_APPS = ["django_river", "benchmarks"]
# Without a URL the command can be asked for its scenarios, and says what is missing when it is to run them.
DATABASES = {"default": environ.Env().db("DATABASE_URL", default="sqlite://:memory:")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
else:
    # A second one on the same server, made by the scenario that lets a table grow old.
    DATABASES["old"] = DATABASES["default"] | {"NAME": f"{DATABASES['default']['NAME']}_old"}

#: How many queues a worker works: "default" alone, or so many with numbers.
QUEUES = int(os.environ.get("BENCHMARK_QUEUES", "1"))
SLOTS = int(os.environ.get("BENCHMARK_SLOTS", "100"))

names = ["default"] if QUEUES == 1 else [f"queue-{number}" for number in range(QUEUES)]
DJANGO_RIVER = {
    "QUEUES": {name: {"MAX_WORKERS": SLOTS if QUEUES == 1 else 10} for name in names},
    "DYNAMIC_QUEUES": True,
    "PERIODIC": json.loads(os.environ.get("BENCHMARK_PERIODIC", "[]")),
}
# What one scenario wants otherwise.
DJANGO_RIVER |= json.loads(os.environ.get("BENCHMARK_RIVER", "{}"))
