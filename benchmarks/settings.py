"""A Django project with nothing but jobs."""

import environ

SECRET_KEY = "not secret: benchmarks only"
USE_TZ = True
INSTALLED_APPS = ["django_river", "benchmarks"]
DATABASES = {"default": environ.Env().db("DATABASE_URL")}
DJANGO_RIVER = {"QUEUES": {"default": {"MAX_WORKERS": 100}}}
