"""The admin's pages as a person uses them: look, choose, press."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote
from django.contrib.messages import get_messages
from django.http import HttpResponse
from django.test import Client as Browser
from django.urls import reverse


class Pages:
    """The pages of :mod:`django_river` in one browser."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser

    def list(self, model: str, **filters: Any) -> HttpResponse:
        return self.browser.get(url(model, "changelist"), filters)

    def row(self, model: str, pk: Any) -> HttpResponse:
        return self.browser.get(url(model, "change", pk))

    def press(self, model: str, pk: Any, button: str, **data: Any) -> HttpResponse:
        """Press a button above a row's page."""
        return self.browser.post(url(model, button, pk), data)

    def act(
        self, model: str, action: str, rows: Iterable[Any], *, confirmed: bool = False,
        across: bool = False, filters: str = "", **data: Any,
    ) -> HttpResponse:  # fmt: skip
        """Choose rows in the list and run an action, or say yes on the page that asks."""
        chosen = {"action": action, "select_across": "1" if across else "0", **data}
        chosen |= {"confirmed": "yes"} if confirmed else {"index": "0"}
        chosen[ACTION_CHECKBOX_NAME] = [str(row.pk) for row in rows]
        return self.browser.post(url(model, "changelist") + filters, chosen)


def url(model: str, page: str, pk: Any = None) -> str:
    """The address of a page in the default admin site."""
    args = [] if pk is None else [quote(pk)]
    return reverse(f"admin:django_river_{model}_{page}", args=args)


def text(response: HttpResponse) -> str:
    """The page without its tags, each run of blanks as one."""
    without_tags = re.sub(r"<[^>]*>", " ", response.content.decode())
    return " ".join(html.unescape(without_tags).split())


def said(response: HttpResponse) -> list[str]:
    """The messages that this request left for the next page."""
    return [str(message) for message in get_messages(response.wsgi_request)._queued_messages]


def shown(response: HttpResponse) -> list[Any]:
    """The keys of a list's rows, in order."""
    return [row.pk for row in response.context["cl"].result_list]


def choices(response: HttpResponse, name: str) -> list[str]:
    """What a filter offers, besides all."""
    (found,) = (spec for spec in response.context["cl"].filter_specs if spec.parameter_name == name)
    return [str(label) for _value, label in found.lookup_choices]


def buttons(response: HttpResponse) -> list[str]:
    """The buttons above a row's page."""
    return [str(tool.label) for tool in response.context["river_tools"]]


def actions(response: HttpResponse) -> list[str]:
    """The names of the actions that a list offers."""
    form = response.context["action_form"]
    return [name for name, _label in form.fields["action"].choices if name] if form else []
