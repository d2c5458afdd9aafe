"""The Django app: finds the modules named ``jobs`` and registers the checks."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _

from django_river.conf import has_task_backend


class RiverConfig(AppConfig):
    """``django_river`` in ``INSTALLED_APPS``."""

    name = "django_river"
    label = "django_river"
    verbose_name = _("River jobs")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_river import checks  # noqa: F401, PLC0415  (registers itself; needs the apps loaded)

        autodiscover_modules("jobs")
        if has_task_backend():
            autodiscover_modules("tasks")
