"""What the Gazette reads out of a document."""

from __future__ import annotations

import pytest

from library.reading import Format, count_words, decode, find_links, find_title, web_problem
from library.sources import installed_documents


def targets(text, form):
    return [link.target for link in find_links(text, form)]


def test_text_is_utf8_with_or_without_a_byte_order_mark():
    assert decode(b"\xef\xbb\xbfcaf\xc3\xa9") == decode(b"caf\xc3\xa9") == "café"


@pytest.mark.parametrize("data", [b"caf\xe9", b"text\0text", b"\xff\xfea\0b\0"])
def test_anything_else_is_no_text(data):
    with pytest.raises(UnicodeDecodeError):
        decode(data)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("docs/index.rst", Format.RST),
        ("README.MD", Format.MARKDOWN),
        ("x-1.dist-info/METADATA", Format.METADATA),
        ("LICENSE", Format.TEXT),
        ("notes.text", Format.TEXT),
    ],
)
def test_the_name_tells_the_format(name, form):
    assert Format.of(name) is form


def test_words_are_counted_in_lower_case_without_numbers_and_single_letters():
    assert count_words("The river's the RIVER\u2019S, a 42 x_y été") == {"the": 2, "river's": 2, "été": 1}


def test_endless_strings_are_no_words():
    assert count_words("a" * 41 + " " + "b" * 40) == {"b" * 40: 1}


@pytest.mark.parametrize(
    ("text", "form", "title"),
    [
        ("intro\n\n# The *River* #\n", Format.MARKDOWN, "The River"),
        ("The River\n=========\n", Format.MARKDOWN, "The River"),
        ("[![badge](b.svg)](x)\n\n## Rivers\n", Format.MARKDOWN, "Rivers"),
        (".. _river:\n\n=======\n River\n=======\n", Format.RST, "River"),
        (":author: Ada\n\nThe ``river``\n-------------\n", Format.RST, "The river"),
        ("\n-----\n  First line\nsecond", Format.TEXT, "First line"),
        ("Name: river\nSummary: A queue\n\nText", Format.METADATA, "river: A queue"),
        ("1234\n----\n", Format.RST, ""),
    ],
)
def test_titles(text, form, title):
    assert find_title(text, form) == title


def test_links_of_markdown():
    text = 'See [the map](map.md "Map"), ![pic](p.png), <https://a.org>, [ref]: x\n[ref]: https://b.org/c\n'

    assert targets(text, Format.MARKDOWN) == ["map.md", "https://b.org/c", "https://a.org"]


def test_links_of_restructured_text():
    text = "See `the map <map.rst>`_ and `Ada <mailto:a@b.org>`__.\n\n.. _site: https://a.org/\n\nhttps://c.org/x.\n"

    assert targets(text, Format.RST) == ["map.rst", "mailto:a@b.org", "https://a.org/", "https://c.org/x"]


def test_links_of_plain_text_are_addresses_each_once():
    assert targets("(https://a.org/) `x <y>`_ https://a.org/", Format.TEXT) == ["https://a.org/"]


def test_links_know_where_they_lead():
    found = find_links("[a](#b) [c](mailto:d) [e](http://f.org) [g](h.md)", Format.MARKDOWN)

    assert [link.kind for link in found] == ["anchor", "mail", "web", "file"]


@pytest.mark.parametrize(
    "target", ["https://example.org/a?b#c", "http://localhost:8000/", "ftp://a-b.example.net"]
)
def test_good_addresses(target):
    assert web_problem(target) == ""


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("https://nowhere/", "'nowhere' is no public host name"),
        ("https:///path", "None is no public host name"),
        ("gopher://a.org", "unusual scheme 'gopher'"),
        ("http://a.org:port/", "Port could not be cast to integer value as 'port'"),
    ],
)
def test_bad_addresses(target, problem):
    assert web_problem(target) == problem


def test_installed_documents_are_real_and_each_content_comes_once():
    documents = list(installed_documents())

    assert len({document.sha256 for document in documents}) == len(documents) > 40
    assert all(document.path.stat().st_size == document.size for document in documents)
