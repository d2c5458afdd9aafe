"""Readers, editions and deliveries in the admin."""

from django.contrib import admin

from digests.models import Delivery, Edition, LiveDigest, Reader


@admin.register(Reader)
class ReaderAdmin(admin.ModelAdmin):
    list_display = ("name", "email")
    search_fields = ("name", "email")


@admin.register(Edition)
class EditionAdmin(admin.ModelAdmin):
    list_display = ("subject", "day", "created_at")
    date_hierarchy = "day"


@admin.register(Delivery)
class DeliveryAdmin(admin.ModelAdmin):
    list_display = ("edition", "reader", "sent_at")
    list_select_related = ("edition", "reader")


@admin.register(LiveDigest)
class LiveDigestAdmin(admin.ModelAdmin):
    list_display = ("made_at", "made_by", "cache_built_at", "documents", "words")
    list_per_page = 50
