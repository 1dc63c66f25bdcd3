"""Requests for recommendations after their validation, with pseudonyms in place of the caller's user ids."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Filters:
    """Narrows the items of one answer; the rules of the placement apply as well."""

    categories: tuple[str, ...] = ()
    """Category paths: items of one of them, or of a category below it."""
    brands: tuple[str, ...] = ()
    lowest_price: float | None = None
    highest_price: float | None = None
    exclude: tuple[str, ...] = ()
    """Items that the answer must not hold."""

    @property
    def narrows(self) -> bool:
        """Return whether items are selected by their values; named ones may be excluded all the same."""
        bounded = self.lowest_price is not None or self.highest_price is not None
        return bounded or bool(self.categories or self.brands)

    def __bool__(self) -> bool:
        """Return whether any filter is set."""
        return self.narrows or bool(self.exclude)


@dataclass(frozen=True, slots=True)
class Visitor:
    """The person or device that an answer is for."""

    user_key: str | None = None
    """The pseudonym of the user; None for a visitor without an account."""
    session_key: str | None = None
    """The pseudonym of the session or device, which finds the visitor's latest clicks."""


@dataclass(frozen=True, slots=True)
class ListRequest:
    """A request for one page of a placement's list."""

    placement: str
    visitor: Visitor
    k: int
    """Items per page."""
    offset: int = 0
    """Items of earlier pages."""
    context: tuple[str, ...] = ()
    """Items of the basket or recently viewed, the latest last."""
    filters: Filters = field(default_factory=Filters)

    @property
    def letters(self) -> int:
        """Return the number of letters in the lists of the request, which a caller may make long."""
        filters = self.filters
        return sum(map(len, (*self.context, *filters.categories, *filters.brands, *filters.exclude)))


@dataclass(frozen=True, slots=True)
class RankRequest:
    """A request to order given items for a visitor."""

    placement: str
    visitor: Visitor
    items: tuple[str, ...]
    context: tuple[str, ...] = ()
