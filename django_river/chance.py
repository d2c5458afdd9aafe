"""Chance for jitter, apart from Python's shared generator: a project that seeds that gets its numbers, whatever we do."""

from random import Random

chance = Random()
