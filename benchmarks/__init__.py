"""Measures this package on a Postgres of yours: ``DATABASE_URL=postgres://… python -m benchmarks``.

Only ratios inside one run mean anything: each run of ours stands beside a run of the *raw limit*, a bare psycopg loop
that issues the same statements with no job code around them, in turn, on the same machine in the same minutes.
The database named is emptied of jobs. It should be one made for this.
"""
