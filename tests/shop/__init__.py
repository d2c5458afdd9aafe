"""A small app with jobs of every sort, for tests that run real workers."""
