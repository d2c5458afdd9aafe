"""What can be read out of a document: its text, its title, its words, its links. Pure functions."""

from __future__ import annotations

import email
import posixpath
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

LONGEST_WORD = 40
LONGEST_TITLE = 200
LONGEST_TARGET = 1000


class Format(StrEnum):
    """How a document is written."""

    TEXT = "txt"
    RST = "rst"
    MARKDOWN = "md"
    METADATA = "metadata"

    @classmethod
    def of(cls, name: str) -> Format:
        """The format that a file name promises."""
        if posixpath.basename(name) == "METADATA":
            return cls.METADATA
        suffix = posixpath.splitext(name)[1].lower().removeprefix(".")
        return next((form for form in cls if form.value == suffix), cls.TEXT)


class LinkKind(StrEnum):
    """Where a link leads."""

    WEB = "web"
    MAIL = "mail"
    ANCHOR = "anchor"
    FILE = "file"


@dataclass(frozen=True, slots=True)
class FoundLink:
    """A link as it stands in the text."""

    target: str
    label: str = ""

    @property
    def kind(self) -> LinkKind:
        """Where it leads, by the look of its target."""
        if self.target.startswith("#"):
            return LinkKind.ANCHOR
        if self.target.startswith("mailto:"):
            return LinkKind.MAIL
        return LinkKind.WEB if "://" in self.target else LinkKind.FILE


def decode(data: bytes) -> str:
    """The text of a file, which must be UTF-8. Raises :class:`UnicodeDecodeError`, also for NUL bytes."""
    at = data.find(b"\0")
    if at >= 0:
        raise UnicodeDecodeError("utf-8", data, at, at + 1, "a NUL byte, so this is no text")
    return data.decode("utf-8-sig")


_WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")


def count_words(text: str, *, shortest: int = 2) -> Counter[str]:
    """How often each word occurs, in lower case. Numbers, single letters and endless strings are no words."""
    words = (match[0].casefold().replace("\u2019", "'") for match in _WORD.finditer(text))
    return Counter(word for word in words if shortest <= len(word) <= LONGEST_WORD)


_ATX = re.compile(r"^#{1,3}[ \t]+(?P<title>.+?)[ \t#]*$", re.MULTILINE)
_UNDERLINED = re.compile(
    r"^[ \t]*(?P<title>[^\n]*[^\W\d_][^\n]*)\n(?P<line>[=\-~#*^+`:.\"'])(?P=line){2,}[ \t]*$", re.MULTILINE
)
_MARKUP = re.compile(r"!?\[([^\]]*)\](?:\([^)]*\))?|[`*|]|:\w+:(?=`)|<[^>]+>")


def find_title(text: str, form: Format) -> str:
    """A document's heading; without one its first line that says something; ``""`` if nothing does."""
    if form is Format.METADATA:
        message = email.message_from_string(text)
        return _plain(f"{message.get('Name', '')}: {message.get('Summary', '')}".strip(": "))
    heading = _ATX.search(text) if form is Format.MARKDOWN else None
    heading = heading or (None if form is Format.TEXT else _UNDERLINED.search(text))
    lines = [heading["title"]] if heading else text.splitlines()
    titles = (_plain(line) for line in lines if not line.startswith((".. ", ":")))
    return next((title for title in titles if any(map(str.isalpha, title))), "")


def _plain(line: str) -> str:
    """A line without its markup, cut to a title's length."""
    return " ".join(_MARKUP.sub(r"\1", line).split()).lstrip("#=.- ").rstrip(": ")[:LONGEST_TITLE]


_MARKDOWN_LINK = re.compile(
    r"(?<!!)\[(?P<label>[^\[\]\n]+)\]\(<?(?P<target>[^\s()<>]+)>?(?:\s+\"[^\"]*\")?\)"
)
_MARKDOWN_DEFINITION = re.compile(r"^ {0,3}\[(?P<label>[^\]\n]+)\]:\s*<?(?P<target>[^\s<>]+)>?", re.MULTILINE)
_RST_LINK = re.compile(r"`(?P<label>[^`<>]+?)\s*<(?P<target>[^`<>\s]+)>`__?")
_RST_DEFINITION = re.compile(r"^\s*\.\. _(?P<label>[^:\n]+):[ \t]+(?P<target>\S+)$", re.MULTILINE)
_BARE = re.compile(r"(?P<target>https?://[^\s<>\"'`()\[\]{}|\\^]+)")
_LINKS = {
    Format.TEXT: (_BARE,),
    Format.METADATA: (_MARKDOWN_LINK, _RST_LINK, _RST_DEFINITION, _BARE),
    Format.MARKDOWN: (_MARKDOWN_LINK, _MARKDOWN_DEFINITION, _BARE),
    Format.RST: (_RST_LINK, _RST_DEFINITION, _BARE),
}


def find_links(text: str, form: Format) -> list[FoundLink]:
    """The links of a document, each target once, labelled ones first."""
    found: dict[str, FoundLink] = {}
    for link in _all_links(text, form):
        found.setdefault(link.target, link)
    return list(found.values())


def _all_links(text: str, form: Format) -> Iterator[FoundLink]:
    for pattern in _LINKS[form]:
        for match in pattern.finditer(text):
            target = match["target"].rstrip(".,;:!?*_")
            label = match.groupdict().get("label") or ""
            if target and len(target) <= LONGEST_TARGET:
                yield FoundLink(target, _plain(label))


_HOST = re.compile(
    r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z][a-z0-9-]*[a-z0-9]|localhost", re.IGNORECASE
)


def web_problem(target: str) -> str:
    """What is wrong with the form of a web address, or ``""``. Nobody is asked whether it exists."""
    try:
        parts = urlsplit(target)
        parts.port  # noqa: B018  (raises when it is no number)
    except ValueError as error:
        return str(error)
    if parts.scheme not in {"http", "https", "ftp", "git", "irc"}:
        return f"unusual scheme {parts.scheme!r}"
    if not _HOST.fullmatch(parts.hostname or ""):
        return f"{parts.hostname!r} is no public host name"
    return ""
