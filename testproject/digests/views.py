"""The live digest, for the box on every page."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from digests.models import LiveDigest


@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """The last live digest and its age, or 404 before there is one."""
    digest = LiveDigest.objects.first()
    if digest is None:
        return JsonResponse({}, status=404)
    return JsonResponse(
        {
            "age_seconds": (timezone.now() - digest.made_at).total_seconds(),
            "documents": digest.documents,
            "words": digest.words,
            "most_frequent": digest.most_frequent,
            "made_by": digest.made_by,
        }
    )
