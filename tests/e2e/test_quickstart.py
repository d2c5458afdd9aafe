"""``docs/quickstart.md``, done word by word in an empty folder, and what other pages build upon it."""

from __future__ import annotations

import pytest

from tests.e2e.reader import Reader, missing, steps
from tests.pages import Block, blocks

pytestmark = pytest.mark.slow

BUY = """# mysite/urls.py
from django.http import HttpResponse
from shop.jobs import send_receipt
from shop.models import Order


def buy(request):
    send_receipt.enqueue(Order.objects.create(email=request.POST["email"]).pk)
    return HttpResponse()


urlpatterns.append(path("buy/", buy))
"""
TEST_DATABASE = """# mysite/settings.py
DATABASES["default"]["TEST"] = {"NAME": BASE_DIR / "test.sqlite3"}
"""


@pytest.fixture
def site(tmp_path):
    """A site as the quickstart has it before its first job."""
    reader = Reader(tmp_path)
    for block, expected in steps("quickstart"):
        if block.first_line == "# in the shell":
            return reader
        reader.do(block, expected)
    raise AssertionError


def example(page, part):
    """The one block of Python in a page that has this in it."""
    (block,) = [block for block in blocks(page, "python") if part in block.text]
    return block


@pytest.mark.postgres
def test_the_quickstart_works_as_written(tmp_path, postgres):
    reader = Reader(tmp_path, postgres)
    for block, expected in steps("quickstart"):
        output = reader.do(block, expected)
        assert missing(expected, output) == [], f"{block.text}\n{output}"


@pytest.mark.sqlite
def test_the_tests_of_the_page_about_tests_pass(site):
    site.append(example("jobs", "def resize_all"))
    for code in (BUY, TEST_DATABASE):
        site.append(Block("python", code))
    for block in blocks("testing", "python"):
        site.append(block)

    output = site.run("python manage.py test")

    assert missing("Found 4 test(s).\nOK", output) == [], output


@pytest.mark.sqlite
def test_failures_are_logged_as_the_pages_say(site):
    site.append(example("workers", "LOGGING"))
    site.append(example("signals", "def log_failure"))
    site.run("python manage.py shell -c 'from shop.jobs import *; send_receipt.enqueue(7)'")

    worked = site.run("python manage.py runworkers --burst")

    failure = "job 1 (shop.send_receipt) is available: DoesNotExist: Order matching query does not exist."
    assert missing(f"… INFO django_river.client client … has stopped: …\n{failure}", worked) == [], worked
