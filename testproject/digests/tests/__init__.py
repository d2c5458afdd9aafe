"""``manage.py test digests``."""
