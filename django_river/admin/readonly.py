"""What all our pages have in common: rows are looked at, never edited; buttons change them through our own verbs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin import ModelAdmin, ShowFacets
from django.contrib.admin.utils import quote, unquote
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import PermissionDenied
from django.db import DataError
from django.db.models import Manager, Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.http import urlencode
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from django_river import storage
from django_river.conf import config
from django_river.storage.overview import TooSlow

if TYPE_CHECKING:
    BaseAdmin = ModelAdmin[Any]
else:
    BaseAdmin = ModelAdmin

#: How long one statement of a list may take.
READ_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Tool:
    """A button above a row's page. It posts to the view of this name."""

    name: str
    label: str
    is_dangerous: bool = False


class ReadOnlyAdmin(BaseAdmin):
    """Shows rows of the database that holds the jobs. What may be done with them, subclasses say."""

    show_full_result_count = False
    show_facets = ShowFacets.NEVER

    class Media:
        css = {"all": ["django_river/admin.css"]}  # noqa: RUF012 (Django's way to say it)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_own_permission(self, request: HttpRequest, name: str) -> bool:
        """Whether the user may do this with rows of the model."""
        user: Any = request.user
        return bool(user.has_perm(f"{self.opts.app_label}.{name}_{self.opts.model_name}"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        manager: Manager[Any] = self.model._default_manager  # noqa: SLF001 (as Django does)
        queryset: QuerySet[Any] = manager.using(config().database)
        return queryset.order_by(*self.get_ordering(request))

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        """Without Django's own deletion, which would ask nobody whether a job is running."""
        where = {} if action_location is None else {"action_location": action_location}
        actions: dict[str, Any] = super().get_actions(request, **where)
        actions.pop("delete_selected", None)
        return actions

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """A list whose every statement has a time limit: what has no index must not keep the database busy."""
        extra_context = {"title": capfirst(self.opts.verbose_name_plural), **(extra_context or {})}
        if request.method != "GET":
            return super().changelist_view(request, extra_context)
        try:
            with storage.for_people(config().database).time_limit(READ_SECONDS):
                return super().changelist_view(request, extra_context)
        except TooSlow:
            if not request.GET:
                raise
            text = _("This took longer than %(seconds)d seconds and was stopped. Filter for less.")
            self.message_user(request, text % {"seconds": READ_SECONDS}, messages.WARNING)
            return HttpResponseRedirect(request.path)
        except DataError:
            if ERROR_FLAG in request.GET:
                raise
            return HttpResponseRedirect(f"{request.path}?{ERROR_FLAG}=1")

    def render_change_form(  # noqa: PLR0917 (Django's signature)
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,  # noqa: FBT001, FBT002 (Django's signature)
        change: bool = False,  # noqa: FBT001, FBT002
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        """A row's page, with its buttons in place of Django's."""
        context["show_delete"] = False
        context["river_tools"] = self.get_tools(request, obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def get_tools(self, request: HttpRequest, row: Any) -> Sequence[Tool]:
        """The buttons that this user may press and that would change something."""
        return ()

    def tool_urls(self, **views: Callable[..., HttpResponse]) -> list[URLPattern]:
        """Addresses below a row's own that its buttons post to."""
        prefix = f"{self.opts.app_label}_{self.opts.model_name}"
        return [
            path(f"<path:object_id>/{name}/", self.admin_site.admin_view(view), name=f"{prefix}_{name}")
            for name, view in views.items()
        ]

    def row_for_tool(self, request: HttpRequest, object_id: str, *, may: bool) -> Any:
        """The row that a button was pressed for, or the response that says why not."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not (may and self.has_view_permission(request)):
            raise PermissionDenied
        row = self.get_object(request, unquote(object_id))
        if row is None:
            django: Any = self
            return django._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # noqa: SLF001
        return row

    def list_url(self, model: type[Model], **filters: str) -> str:
        """The address of a list in this admin site, or nothing if the site has none."""
        return f"{url}?{urlencode(filters)}" if (url := self._url(model, "changelist")) and filters else url

    def row_url(self, model: type[Model], pk: int | str) -> str:
        """The address of a row's page in this admin site, or nothing if the site has none."""
        return self._url(model, "change", quote(pk))

    def _url(self, model: type[Model], page: str, *args: object) -> str:
        if not self.admin_site.is_registered(model):
            return ""
        opts = model._meta
        name = f"admin:{opts.app_label}_{opts.model_name}_{page}"
        return reverse(name, args=args, current_app=self.admin_site.name)
