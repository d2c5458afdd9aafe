"""Which documents belong together: those that share words that few others use."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator

from django.db.models import Count

from library.models import Document, WordCount

#: Words that say what a document is about.
TELLING_WORDS = 25


def related_documents(*, at_most: int) -> Iterator[tuple[int, list[int]]]:
    """Each indexed document's id with the ids of its nearest ones, the nearest first."""
    telling = _telling_words()
    holders: dict[str, dict[int, float]] = defaultdict(dict)
    for document_id, weights in telling.items():
        for word, weight in weights.items():
            holders[word][document_id] = weight
    for document_id, weights in telling.items():
        nearness: dict[int, float] = defaultdict(float)
        for word, weight in weights.items():
            for other_id, other_weight in holders[word].items():
                if other_id != document_id:
                    nearness[other_id] += weight * other_weight
        yield document_id, sorted(nearness, key=nearness.__getitem__, reverse=True)[:at_most]


def _telling_words() -> dict[int, dict[str, float]]:
    """Each document's most telling words, their weights of length one (TF-IDF, cosine)."""
    documents = Document.objects.filter(indexed_at__isnull=False).count()
    # In how many documents a word stands; a word of one document alone relates it to none.
    spread = dict(
        WordCount.objects.order_by().values_list("word").annotate(spread=Count("id")).filter(spread__gt=1)
    )
    weights: dict[int, dict[str, float]] = defaultdict(dict)
    for document_id, word, count in WordCount.objects.order_by().values_list("document_id", "word", "count"):
        if word in spread:
            weights[document_id][word] = (1 + math.log(count)) * math.log(documents / spread[word] + 1)
    return {document_id: _unit(found) for document_id, found in sorted(weights.items())}


def _unit(weights: dict[str, float]) -> dict[str, float]:
    top = dict(Counter(weights).most_common(TELLING_WORDS))
    length = math.sqrt(sum(weight * weight for weight in top.values())) or 1.0
    return {word: weight / length for word, weight in top.items()}
