"""What the digests show on the site."""

from django.urls import path

from digests import views

urlpatterns = [path("live/", views.live, name="live-digest")]
