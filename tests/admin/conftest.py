"""A browser of the admin, logged in as somebody with just these permissions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client as Browser

from tests.admin.pages import Pages

Staff = Callable[..., Pages]


@pytest.fixture
def staff(db) -> Staff:
    """Log in a member of staff: ``staff("view_job", "retry_job")``."""

    def log_in(*permissions: str) -> Pages:
        user = User.objects.create_user(f"staff-{User.objects.count()}", is_staff=True)
        found = Permission.objects.filter(content_type__app_label="django_river", codename__in=permissions)
        assert len(found) == len(permissions)
        user.user_permissions.set(found)
        browser = Browser()
        browser.force_login(user)
        return Pages(browser)

    return log_in


@pytest.fixture
def root(db) -> Pages:
    """The pages as a superuser sees them."""
    browser = Browser()
    browser.force_login(User.objects.create_superuser("root"))
    return Pages(browser)
