"""A live scorer that answers from memory."""

from serving.answers.answer import Entry, Listing
from serving.answers.interfaces import Hidden, LiveUnavailableError
from serving.answers.request import ListRequest, RankRequest
from serving.stores.lists import Standing
from tests.serving.made_up_shop import ITEMS


class LiveScorer:
    """A live scorer that shows the last items, and wants requests with a context."""

    def __init__(self) -> None:
        self.asked: list[tuple[ListRequest, Standing]] = []
        self.overloaded = False
        self.hides = Hidden(frozenset(), complete=True)

    async def hidden(self, _request: ListRequest) -> Hidden:
        return self.hides

    def wanted(self, request: ListRequest) -> bool:
        return bool(request.context)

    async def recommend(self, request: ListRequest, standing: Standing) -> Listing | None:
        self.asked.append((request, standing))
        if self.overloaded:
            raise LiveUnavailableError
        chosen = [name for name in reversed(ITEMS) if name not in request.context]
        return Listing(tuple(Entry(name, 1.0, "live") for name in chosen), 1)

    async def similar(self, item: str, request: ListRequest, standing: Standing) -> Listing | None:
        assert item in ITEMS
        return await self.recommend(request, standing)

    async def goes_with(self, items: tuple[str, ...], request: ListRequest, standing: Standing) -> Listing | None:
        assert set(items) <= set(ITEMS)
        return await self.recommend(request, standing)

    async def rank(self, request: RankRequest, _standing: Standing) -> Listing | None:
        if self.overloaded:
            raise LiveUnavailableError
        return Listing(tuple(Entry(name, 1.0, "live") for name in reversed(request.items)), 1)
