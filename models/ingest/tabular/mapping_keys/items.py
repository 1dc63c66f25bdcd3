"""Define the keys of [items] in a mapping file."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from models.ingest.expressions.syntax_tree import Expression
from models.ingest.expressions.value_sources import AttributeSource, Marks, NumberSource, Source, Sources, attribute_of
from models.ingest.tabular.duplicate_rows import DATED, Choice
from models.ingest.tabular.mapping_keys.table import FilledMapping, TimeFormat, Zone, check_required


def _is_expression(value: Any) -> bool:
    return isinstance(value, dict) and "expr" in value


class ItemsMapping(FilledMapping):
    """The sources of the catalogue. `category` lists its levels, most general first; an item may have none."""

    texts = (
        *("item_id", "title", "category", "brand", "attributes", "updated_at"),
        *("currency", "url", "image", "available", "available_from", "available_until"),
    )
    numbers = ("price",)
    mandatory = ("item_id",)
    moments = ("updated_at", "available_from", "available_until")

    item_id: Source
    """The id of the item."""
    title: Sources
    """The title; several columns are joined. The id replaces a missing title."""
    sentence_case: bool = False
    """Whether to write titles in sentence case: ICE CREAM becomes Ice cream."""
    category: list[Source] = Field([])
    """The levels of the category, most general first; or one column with the whole path."""
    category_separator: str | None = Field(None, min_length=1, max_length=5)
    """The separator of the levels in a column with a path, such as > or /."""
    category_alternatives: str | None = Field(None, min_length=1)
    """The separator of several categories of one level; the first of them counts."""
    brand: Source | None = None
    """The brand, maker or author."""
    price: NumberSource | None = None
    """The price of one piece."""
    currency: Source | None = None
    """The currency of the price."""
    constants: dict[Literal["currency"], str] = Field({})
    """The currency of all prices, if no column states it."""
    url: Source | None = None
    """The address of the item's page; shown beside recommendations."""
    image: Source | None = None
    """The address of a picture of the item; shown beside recommendations."""
    available: Source | None = None
    """Whether the item is in stock: true or false, a number of pieces, or words such as `in stock` and `sold out`.
    Items out of stock are not recommended. Empty means unknown, which counts as in stock. Other words also count as
    in stock, and are reported."""
    available_words: dict[str, bool] = Field({})
    """Further words for the column `available`, such as lieferbar = true and ausverkauft = false."""
    available_from: Source | None = None
    """The release: the item is not recommended before."""
    available_until: Source | None = None
    """The end of sale: the item is not recommended afterwards. A date without a time of day includes its day."""
    required: list[Literal["category", "brand", "price", "currency", "url", "image"]] = Field([])
    """Keys that every item needs: rows with an empty value in one of them wait in quarantine."""
    attributes: list[AttributeSource] = Field([])
    """Further columns to keep as text."""
    choose: dict[str, Choice] | Choice = Field({})
    """Which value counts if a file has several rows of one item: for all columns, or by title, category, brand, price
    or attribute. The default is the last row; `recent` is the most frequent value of the item's last four weeks."""
    updated_at: Source | None = None
    """The time at which a row of the catalogue was written: `latest` and `recent` use it, and the row's values are
    known from then on."""
    time_format: TimeFormat = "timestamp"
    """The format of `updated_at` and other times, as for events."""
    zone: Zone = "UTC"
    """The zone of times without one, as for events."""
    not_merchandise: Marks = Field([])
    """Items that are never recommended, such as fuel, coupons and postage: beginnings of category paths, or expressions
    over the columns of a row. A single expression needs no list."""

    @property
    def conditions(self) -> list[Expression]:
        """Return the expressions that select or mark rows."""
        return [*super().conditions, *self.marks]

    @property
    def choices(self) -> dict[str, Choice]:
        """Return the choice of the value that counts, by column or attribute."""
        if isinstance(self.choose, dict):
            return self.choose
        names = [name for name in self._choosable if not (name == "price" and self.choose == "longest")]
        return dict.fromkeys(names, self.choose)

    @property
    def _choosable(self) -> list[str]:
        own = [key for key in ("title", "category", "brand", "price") if getattr(self, key)]
        return [*own, *map(attribute_of, self.attributes)]

    @model_validator(mode="before")
    @classmethod
    def _one_category_needs_no_list(cls, content: Any) -> Any:
        one = content.get("category") if isinstance(content, dict) else None
        return {**content, "category": [one]} if isinstance(one, str) or _is_expression(one) else content

    @model_validator(mode="after")
    def _offers_are_stated_once(self) -> Self:
        if self.currency and "currency" in self.constants:
            raise ValueError("currency is given twice, as a column and in constants; keep one")
        if self.available_words and not self.available:
            raise ValueError("available_words are words of a column; name that column as available")
        if self.category_separator and len(self.category) != 1:
            raise ValueError("category_separator splits one column; name that column alone as category")
        check_required(self, self.required)
        return self

    @model_validator(mode="after")
    def _chosen_keys_are_read(self) -> Self:
        for name, choice in self.choices.items():
            if name not in self._choosable:
                raise ValueError(f"choose names {name!r}, which is not one of: {', '.join(self._choosable)}")
            if choice == "longest" and name == "price":
                raise ValueError("choose.price is a number; write most_frequent, recent, latest or last")
        for choice in self.choices.values():
            if choice in DATED and not self.updated_at:
                raise ValueError(f"choose = {choice} needs a time; name its column as updated_at")
        return self

    @property
    def marks(self) -> list[Expression]:
        """Return the expressions that mark items that are not merchandise."""
        return [one for one in self.not_merchandise if isinstance(one, Expression)]
