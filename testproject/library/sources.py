"""The documents that lie on this machine already: what the installed Python distributions ship."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path

SUFFIXES = frozenset({".txt", ".rst", ".md"})
#: Texts that carry no suffix.
NAMES = frozenset({"METADATA", "LICENSE", "LICENCE", "COPYING", "NOTICE", "AUTHORS"})
#: Lists that packaging tools write for one another.
PLUMBING = frozenset(
    {"top_level.txt", "entry_points.txt", "SOURCES.txt", "requires.txt", "dependency_links.txt"}
)
LARGEST = 1_000_000


@dataclass(frozen=True, slots=True)
class Source:
    """A file worth reading."""

    path: Path
    name: str
    distribution: str
    size: int
    sha256: str


def installed_documents() -> Iterator[Source]:
    """Every document of the installed distributions, in a steady order, each content once."""
    seen: set[str] = set()
    for distribution in sorted(metadata.distributions(), key=lambda found: found.name or ""):
        for file in sorted(distribution.files or (), key=str):
            if not _is_document(file):
                continue
            source = _source(Path(str(file.locate())), str(file), distribution.name)
            if source is not None and source.sha256 not in seen:
                seen.add(source.sha256)
                yield source


def _is_document(file: metadata.PackagePath) -> bool:
    return file.name not in PLUMBING and (file.suffix.lower() in SUFFIXES or file.name in NAMES)


def _source(path: Path, name: str, distribution: str) -> Source | None:
    try:
        data = path.read_bytes() if path.stat().st_size <= LARGEST else b""
    except OSError:
        return None
    if not data.strip():
        return None
    return Source(path.resolve(), name, distribution, len(data), sha256(data).hexdigest())
