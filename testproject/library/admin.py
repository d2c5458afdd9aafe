"""Documents in the admin, with what was read out of them. They come in through the site, so none is added here."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from library.jobs import request_ingestion
from library.models import Document, Link


class LinkInline(admin.TabularInline):
    model = Link
    fields = ("kind", "target", "label", "problem")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Document | None = None) -> bool:
        return False


@admin.register(Document)
class DocumentAdmin(admin.ModelAdmin):
    list_display = ("title", "distribution", "format", "size", "words", "status", "added_at")
    list_filter = ("format", "is_approved")
    list_per_page = 50
    search_fields = ("title", "name", "distribution")
    fields = (
        ("title", "status"),
        ("distribution", "name", "format", "size", "words"),
        "path",
        "problem",
        ("added_at", "read_at", "indexed_at", "links_checked_at"),
    )
    readonly_fields = (
        "status", "distribution", "name", "format", "size", "words", "path", "problem",
        "added_at", "read_at", "indexed_at", "links_checked_at",
    )  # fmt: skip
    inlines = (LinkInline,)
    actions = ("ingest_again", "approve")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Document]:
        return super().get_queryset(request).defer("text")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    @admin.action(description="Read the selected documents again")
    def ingest_again(self, request: HttpRequest, queryset: QuerySet[Document]) -> None:
        """Ask for each; a document that is being read already is not asked for twice."""
        for document in queryset:
            request_ingestion(document)
        self.message_user(request, f"{queryset.count()} documents will be read again.")

    @admin.action(description="Approve the selected documents")
    def approve(self, request: HttpRequest, queryset: QuerySet[Document]) -> None:
        """Let visitors' uploads in."""
        waiting = list(queryset.filter(is_approved=False))
        for document in waiting:
            document.approve()
        self.message_user(request, f"{len(waiting)} documents have been approved and will be read.")
