"""The reading-room's pages. Those that change something enqueue a job, or steer one."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.admin.views.decorators import staff_member_required
from django.core.paginator import Paginator
from django.db.models import Count, Q, Sum
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from django_river import operations
from django_river.models import Job
from library.adding import add_upload
from library.forms import UploadForm
from library.jobs import find_related, import_installed, request_ingestion
from library.models import Document
from library.queues import living_clients, queue_figures

DOCUMENTS_PER_PAGE = 25
FILTERS = {
    "": Document.objects.all,
    "failed": Document.objects.failed,
    "unsettled": Document.objects.unsettled,
    "visitors": lambda: Document.objects.filter(is_approved=False),
}


@require_safe
def front_page(request: HttpRequest) -> HttpResponse:
    """All documents, or those that contain the words asked for."""
    query, chosen = request.GET.get("q", "").strip(), request.GET.get("show", "")
    documents = FILTERS.get(chosen, Document.objects.all)().defer("text")
    if query:
        documents = documents.search(query)
    totals = Document.objects.aggregate(
        documents=Count("id"), words=Sum("words"), failed=Count("id", filter=~Q(problem=""))
    )
    page = Paginator(documents, DOCUMENTS_PER_PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "query": query,
        "chosen": chosen,
        "totals": totals,
        "other_pages": _query_string(request, page=None),
    }
    return _page(request, "library/front_page.html", context)


@require_safe
def document(request: HttpRequest, document_id: int) -> HttpResponse:
    """One document: what was read out of it, and the jobs that did it."""
    found = get_object_or_404(Document, pk=document_id)
    context = {
        "document": found,
        "words": [counted for counted in found.word_counts.all()[:200] if len(counted.word) > 3][:40],
        "links": found.links.all()[:200],
        "related": found.related.defer("text"),
        "jobs": found.jobs()[:20],
        "beginning": found.text[:3100],
    }
    return _page(request, "library/document.html", context)


def upload(request: HttpRequest) -> HttpResponse:
    """Take a document in. A visitor's waits for approval: its job is stored, but pending."""
    form = UploadForm(request.POST or None, request.FILES or None)
    if request.method != "POST" or not form.is_valid():
        return _page(request, "library/upload.html", {"form": form})
    found, is_new = add_upload(form.cleaned_data["file"], is_approved=request.user.is_staff)
    if not is_new:
        request_ingestion(found)
        messages.info(request, "This document was here already; it will be read again.")
    elif found.is_approved:
        messages.success(request, "Thank you. The document is being read.")
    else:
        messages.success(request, "Thank you. The document will be read once it has been approved.")
    return redirect(found)


@require_POST
def ingest_again(request: HttpRequest, document_id: int) -> HttpResponse:
    """Read a document again, now."""
    found = get_object_or_404(Document, pk=document_id, is_approved=True)
    stored = request_ingestion(found)
    messages.success(request, f"Job {stored.pk} will read the document again.")
    return redirect(found)


@staff_member_required
@require_POST
def approve(request: HttpRequest, document_id: int) -> HttpResponse:
    """Let a visitor's upload in."""
    found = get_object_or_404(Document, pk=document_id)
    found.approve()
    messages.success(request, "Approved. The document is being read.")
    return redirect(found)


@staff_member_required
@require_POST
def find_related_documents(request: HttpRequest) -> HttpResponse:
    """Have related documents found; once at a time."""
    stored = find_related.enqueue()
    said = "is at it already" if stored.skipped_as_duplicate else "will find related documents"
    messages.success(request, f"Job {stored.pk} {said}.")
    return redirect("front-page")


@staff_member_required
@require_POST
def cancel_find_related(request: HttpRequest) -> HttpResponse:
    """Stop it: a waiting job is cancelled, a running one is asked to stop."""
    result = operations.cancel(Job.objects.open().of_kind(find_related.kind))
    messages.success(request, f"{len(result.changed)} job(s) cancelled or asked to stop.")
    return redirect("front-page")


@staff_member_required
@require_POST
def import_documents(request: HttpRequest) -> HttpResponse:
    """Take in what the installed distributions ship; once at a time."""
    stored = import_installed.enqueue()
    messages.success(request, f"Job {stored.pk} imports the documents of the installed distributions.")
    return redirect("front-page")


@require_safe
def import_progress(request: HttpRequest) -> HttpResponse:
    """How far the last import is: a part of the page, asked for again and again."""
    return render(request, "library/_import.html", {"importing": _last_import()})


def _last_import() -> Job | None:
    return Job.objects.of_kind(import_installed.kind).order_by("-id").first()


def _query_string(request: HttpRequest, **changes: Any) -> str:
    """The query string of the present page with some values changed; ``None`` leaves one out."""
    values = request.GET.copy()
    for name, value in changes.items():
        values.pop(name, None)
        if value is not None:
            values[name] = value
    return values.urlencode()


def _page(request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
    """A page with the box of queues beside it."""
    box = {
        "queues": queue_figures(),
        "clients": living_clients(),
        "importing": _last_import(),
        "relating": Job.objects.open().of_kind(find_related.kind).first(),
    }
    return render(request, template, context | box)
