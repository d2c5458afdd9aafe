"""``manage.py test library``."""
