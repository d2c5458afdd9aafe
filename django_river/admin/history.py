"""What was done in the admin is kept in the admin's log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.db.models import Model
from django.http import HttpRequest
from django.utils.translation import gettext as _

#: So many rows are logged one by one; more make one entry together.
ONE_BY_ONE = 100


def keep_all(
    request: HttpRequest, model: type[Model], rows: Sequence[Model], *, flag: int, message: str
) -> None:
    """Write an entry for each of these rows, or one for all of them if they are many."""
    if len(rows) > ONE_BY_ONE:
        keep_summary(request, model, len(rows), flag=flag, message=message)
    elif rows:
        user: Any = request.user
        LogEntry.objects.log_actions(user.pk, rows, flag, message)


def keep_summary(request: HttpRequest, model: type[Model], count: int, *, flag: int, message: str) -> None:
    """Write one entry for many rows together."""
    user: Any = request.user
    names = {"count": count, "rows": model._meta.verbose_name_plural}
    LogEntry.objects.create(
        user_id=user.pk,
        content_type=get_content_type_for_model(model),
        object_repr=_("%(count)d %(rows)s") % names,
        action_flag=flag,
        change_message=message,
    )
