"""The reading-room's pages."""

from django.urls import path

from library import views

urlpatterns = [
    path("", views.front_page, name="front-page"),
    path("upload/", views.upload, name="upload"),
    path("documents/<int:document_id>/", views.document, name="document"),
    path("documents/<int:document_id>/ingest/", views.ingest_again, name="ingest-again"),
    path("documents/<int:document_id>/approve/", views.approve, name="approve"),
    path("import/", views.import_documents, name="import"),
    path("import/progress/", views.import_progress, name="import-progress"),
    path("related/", views.find_related_documents, name="find-related"),
    path("related/cancel/", views.cancel_find_related, name="cancel-find-related"),
]
