"""Other sites than the default one: custom, with few of our models, without time zones, or without an admin."""

from __future__ import annotations

import subprocess
import sys

import pytest
from django.contrib.admin import AdminSite
from django.contrib.auth.models import User
from django.test import Client as Browser
from django.urls import path

from django_river.admin import JobAdmin
from django_river.models import Job
from tests.admin.pages import said, text
from tests.factories import ClientFactory, JobFactory, LeaderFactory, QueueFactory

backstage = AdminSite(name="backstage")
backstage.register(Job, JobAdmin)
urlpatterns = [path("backstage/", backstage.urls)]


@pytest.fixture
def browser(db):
    browser = Browser()
    browser.force_login(User.objects.create_superuser("root"))
    return browser


@pytest.mark.urls("tests.admin.test_sites")
class TestCustomSite:
    """A site of its own, with jobs but without queues and clients."""

    def test_its_pages_lead_to_one_another(self, browser):
        ClientFactory(id="web-1")
        job = JobFactory(retryable=True, kind="shop.send", queue="emails", client_id="web-1")

        page = browser.get(f"/backstage/django_river/job/{job.pk}/change/").content.decode()

        assert 'href="/backstage/django_river/job/?kind=shop.send"' in page
        assert f'action="/backstage/django_river/job/{job.pk}/retry/"' in page
        assert "/queue/" not in page
        assert "/client/" not in page

    def test_its_buttons_and_actions_work(self, browser):
        job = JobFactory(discarded=True)

        response = browser.post(f"/backstage/django_river/job/{job.pk}/retry/")
        assert response.url == f"/backstage/django_river/job/{job.pk}/change/"
        response = browser.post(f"/backstage/django_river/job/{job.pk}/delete/")
        assert f'href="/backstage/django_river/job/{job.pk}/change/"' in response.content.decode()
        response = browser.post(f"/backstage/django_river/job/{job.pk}/delete/", {"confirmed": "yes"})
        assert response.url == "/backstage/django_river/job/"
        assert said(response) == ["Deleted 1 job."]


def test_pages_work_without_time_zones(browser, settings):
    settings.USE_TZ = False
    QueueFactory(paused=True)
    client, leader = ClientFactory(), LeaderFactory()
    job = JobFactory(discarded=True, max_attempts=2)
    pages = [f"job/{job.pk}/change/", "job/", "queue/", "client/", f"client/{client.pk}/change/", "leader/"]

    for page in pages:
        assert browser.get(f"/admin/django_river/{page}").status_code == 200, page
    assert leader.leader_id in text(browser.get("/admin/django_river/leader/"))


def test_the_admin_may_be_missing():
    """Nothing but the admin's own autodiscovery imports these pages."""
    program = (
        "import sys\n"
        "import django\n"
        "from django.conf import settings\n"
        "from django.core.management import call_command\n"
        "settings.configure(\n"
        "    INSTALLED_APPS=['django_river'],\n"
        "    DATABASES={'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': ':memory:'}},\n"
        ")\n"
        "django.setup()\n"
        "call_command('check')\n"
        "call_command('migrate', verbosity=0)\n"
        "from django_river import models\n"
        "assert models.Job.objects.count() == 0\n"
        "assert not [name for name in sys.modules if name.startswith('django_river.admin')]\n"
    )

    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
