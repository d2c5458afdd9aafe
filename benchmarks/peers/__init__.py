"""Other queues, from PyPI: each in an environment and a database of its own, driven by the module of its name here.

The modules run in those environments, so they import nothing of this suite but :mod:`benchmarks.peers.protocol`.
"""

#: What is installed; the newest versions that the index has.
PACKAGES = {
    "pgqueuer": ("pgqueuer[asyncpg]", "uvloop"),
    "chancy": ("chancy", "psycopg[binary]"),
    "oban": ("oban", "psycopg[binary]"),
    "procrastinate": ("procrastinate", "psycopg[binary]"),
    "django-tasks-db": ("django-tasks-db", "psycopg[binary]"),
}
