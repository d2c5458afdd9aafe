"""``manage.py demo``: the Gazette at work, from an empty database to a served site."""
