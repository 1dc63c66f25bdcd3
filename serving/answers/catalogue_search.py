"""Finds items of the catalogue: by id, by the words of their titles, and by filters."""

import asyncio
import re
import unicodedata
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count, filterfalse, islice
from math import inf
from time import monotonic
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from models.primitives.distinct import distinct
from serving.answers.best_sellers import Upkeep
from serving.answers.protocol import Filters
from serving.answers.selection import Selection
from serving.stores.catalogue import Catalogue, Item
from serving.stores.lists import NOBODY

_MOST_WORDS: Final = 8
_SPACING_SECONDS: Final = 30.0
"""New titles are found after this time at the latest; stock and prices count at once."""
_WORD: Final = re.compile(r"\w+")
_END: Final = "\n"
_WORD_OR_END: Final = re.compile(r"\w+|\n")
_LAST: Final = chr(0x10FFFF)
_LETTERS: Final = str.maketrans("øđðłı", "oddli") | str.maketrans({"æ": "ae", "œ": "oe", "þ": "th"})
"""Letters that Unicode does not take apart."""
_UMLAUTS: Final = _LETTERS | str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})
"""Also letters that people write as two."""


@dataclass(frozen=True, slots=True)
class CatalogueQuery:
    """A request for one page of items."""

    k: int
    offset: int = 0
    text: str = ""
    """Each word has to begin a word of the title. Without words all items match."""
    items: tuple[str, ...] = ()
    """If it names items, these are returned in this order, and nothing else counts."""
    filters: Filters = field(default_factory=Filters)


@dataclass(frozen=True, slots=True)
class FoundItem:
    """One item of the catalogue, and whether it can be bought now."""

    item: Item
    available: bool


@dataclass(frozen=True, eq=False)
class TitleWords:
    """The words of all titles of a catalogue. Items are known by their place among all ids, which are sorted."""

    generation: int
    """Of the catalogue."""
    names: Sequence[str]
    """Item ids by place."""
    words: Sequence[str]
    """All words of titles, sorted."""
    places: Mapping[str, NDArray[np.int32]]
    """By word, the places of the items with this word in their title, ascending."""

    @classmethod
    def of(cls, catalogue: Catalogue) -> Self:
        """Return the words of a catalogue."""
        ids, titles = list(catalogue.by_id), catalogue.titles
        order = np.array(sorted(range(len(ids)), key=ids.__getitem__), dtype=np.int64)
        words, word, title = _words_of_titles(titles.texts)
        # Each pair of a word and a title becomes pairs of the word and the places of the title, as one number each.
        number, n = titles.number[order], max(1, len(ids))
        size = np.bincount(number, minlength=len(titles.texts))
        of_title = np.argsort(number, kind="stable").astype(np.int32)
        at = np.repeat((np.cumsum(size)[title] - np.cumsum(size[title])).astype(np.int32), size[title])
        at += np.arange(len(at), dtype=np.int32)
        pairs = np.repeat(word * n, size[title])
        pairs += of_title[at]
        pairs.sort()
        ends = np.searchsorted(pairs, np.arange(len(words) + 1) * n).tolist()
        places = (pairs % n).astype(np.int32)
        of_word = {one: places[first:last] for one, first, last in zip(words, ends[:-1], ends[1:], strict=True)}
        return cls(catalogue.generation, sorted(ids), sorted(words), of_word)

    def beginning_with(self, forms: Iterable[str]) -> NDArray[np.int32]:
        """Return the places of items with a word that begins with one of these forms, ascending."""
        ends = [(bisect_left(self.words, form), bisect_left(self.words, form + _LAST)) for form in forms]
        parts = [self.places[word] for first, last in ends for word in self.words[first:last]]
        return np.unique(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int32)


@dataclass(frozen=True, eq=False)
class TitleIndex:
    """The words of all titles, and the order of their items: best sellers first."""

    digest: str
    """Of the champion that knows the sales."""
    titles: TitleWords
    names: Sequence[str]
    """Item ids by rank."""
    ranks: NDArray[np.int32]
    """[n] the rank of each item by its place."""

    @classmethod
    def of(cls, titles: TitleWords, sales: Mapping[str, float], digest: str) -> Self:
        """Return the index by the sales that a champion knows; items without sales come last, by id."""
        sold = np.array([sales.get(name, 0.0) for name in titles.names])
        order = np.argsort(-sold, kind="stable")
        ranks = np.empty(len(order), dtype=np.int32)
        ranks[order] = np.arange(len(order))
        return cls(digest, titles, [titles.names[place] for place in order.tolist()], ranks)

    def matches(self, text: str) -> Iterable[str]:
        """Return the ids of the items whose titles hold the beginnings of all words, best sellers first."""
        given = list(zip(*map(_WORD.findall, _forms(text)), strict=True))[:_MOST_WORDS]
        if not given:
            return () if text.strip() else self.names
        both = self.titles.beginning_with(given[0])
        for forms in given[1:]:
            both = np.intersect1d(both, self.titles.beginning_with(forms), assume_unique=True)
        return map(self.names.__getitem__, np.sort(self.ranks[both]).tolist())


_EMPTY: Final = TitleIndex("", TitleWords(0, (), (), {}), (), np.empty(0, dtype=np.int32))


class CatalogueSearch:
    """Answers requests for items from memory."""

    def __init__(self, stock: Upkeep, known: TitleIndex | None = None) -> None:
        """Search this catalogue. A `known` index is used until the catalogue or the champion changes."""
        self._stock, self._index = stock, known or _EMPTY
        self._built_at = -_SPACING_SECONDS
        self._building: asyncio.Task[None] | None = None

    async def find(self, query: CatalogueQuery) -> tuple[FoundItem, ...]:
        """Return a page of items. Named ones are returned even if they cannot be bought now, unless it is never."""
        catalogue = self._stock.catalogue
        if query.items:
            known = (item for name in catalogue.products_of(query.items) if (item := catalogue.by_id.get(name)))
            shown = (item for item in known if item.available_from < inf)
            return tuple(FoundItem(item, item.item_id in catalogue.sold) for item in shown)
        building = self.renew()
        if building is not None and not self._index.names:
            await asyncio.shield(building)
        return await asyncio.to_thread(_page, self._index, catalogue, query)

    async def ready(self) -> None:
        """Build the index of the present catalogue, so that no request waits for it or beside it."""
        building = self.renew()
        if building is not None:
            await building

    def renew(self) -> asyncio.Task[None] | None:
        """Begin to build the index of the present catalogue, unless the one that exists is young; return the task.

        Requests go on with the earlier index meanwhile: building takes a moment.
        """
        made_from = self._index.titles.generation, self._index.digest
        is_old = made_from != (self._stock.catalogue.generation, self._stock.digest)
        aged = monotonic() - self._built_at > _SPACING_SECONDS
        if self._building is None and is_old and (aged or not self._index.names):
            self._building = asyncio.create_task(self._build())
        return self._building

    async def _build(self) -> None:
        try:
            self._index = await asyncio.to_thread(self._built)
        finally:
            self._built_at, self._building = monotonic(), None

    def _built(self) -> TitleIndex:
        stock, titles = self._stock, self._index.titles
        if titles.generation != stock.catalogue.generation:
            titles = TitleWords.of(stock.catalogue)
        return TitleIndex.of(titles, stock.sales, stock.digest)


def _forms(text: str) -> list[str]:
    """Return the forms in which words are compared, without case and accents: `Dübel` is `dubel` and `duebel`."""
    if text.isascii():
        return [text.lower()]
    whole = unicodedata.normalize("NFKC", text).casefold()
    written = dict.fromkeys(whole.translate(letters) for letters in (_LETTERS, _UMLAUTS))
    return ["".join(filterfalse(unicodedata.combining, unicodedata.normalize("NFKD", one))) for one in written]


def _words_of_titles(titles: Sequence[str]) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Return all words, and the pairs of a word and a title with it, by their places: all are read as one text."""
    found = _WORD_OR_END.findall("".join([" ".join(_forms(title)).replace(_END, " ") + _END for title in titles]))
    numbers = defaultdict[str, int](count().__next__, {_END: -1})
    word = np.fromiter(map(numbers.__getitem__, found), dtype=np.int64, count=len(found))
    title = np.cumsum(word < 0)
    del numbers[_END]
    pairs = distinct((title * len(numbers) + word)[word >= 0])
    return list(numbers), pairs % max(1, len(numbers)), pairs // max(1, len(numbers))


def _page(index: TitleIndex, catalogue: Catalogue, query: CatalogueQuery) -> tuple[FoundItem, ...]:
    found = _allowed(index.matches(query.text), catalogue, query.filters)
    return tuple(FoundItem(item, True) for item in islice(found, query.offset, query.offset + query.k))


def _allowed(names: Iterable[str], catalogue: Catalogue, filters: Filters) -> Iterator[Item]:
    """Yield the items that can be bought now and that the filters select."""
    selection = Selection.of(NOBODY, filters)
    for name in names:
        if name in catalogue.sold and selection.allows(item := catalogue.by_id[name]):
            yield item
