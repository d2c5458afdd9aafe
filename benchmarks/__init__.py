"""Measures this package on a Postgres of yours: ``DATABASE_URL=postgres://… python -m benchmarks``.

Only ratios inside one round mean anything: in each round everybody runs in turn, on the same machine in the same
minutes: this package, the *raw limit* (a bare psycopg loop that issues the same statements with no job code around
them), and other queues from PyPI, in environments of their own. What is asked of a ratio stands beside it.

The database named is emptied. It should be one made for this. See ``docs/performance.md``.
"""
