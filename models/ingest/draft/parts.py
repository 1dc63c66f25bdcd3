"""Build a part of a mapping as lines with comments."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow.compute as pc

from models.ingest.currencies import CODES, NAMES
from models.ingest.draft.mapping_text import column, key, toml
from models.ingest.draft.roles import Choice, dependency_share, is_order, is_per_order, kind_of, repeated_ids
from models.ingest.draft.samples import Column, Sample
from models.ingest.draft.vocabulary import MONEY, plain
from models.ingest.tabular import column_reader
from models.ingest.tabular.column_reader import best, form_of, settings_of
from models.ingest.tabular.numbers import PLAIN, NumberForm

_COMMENT_AT: Final = 100
_IDS: Final = ("user_id", "item_id", "session_id")
_NAME_CODES: Final = frozenset(
    ["aud", "brl", "cad", "chf", "cny", "czk", "dkk", "eur", "gbp", "inr", "jpy", "nok", "nzd", "pln", "sek", "usd"]
)
"""Codes that occur in column names, such as price_eur. Other codes, such as TOP and ALL, are also words."""
_SEVERAL: Final = {"$": ("USD", "CAD", "AUD", "NZD", "SGD", "HKD", "MXN"), "¥": ("JPY", "CNY")}
"""Signs that several currencies share, the most usual one first."""


@dataclass(frozen=True)
class Line:
    """One key with its value, and a note on its uncertainty."""

    key: str
    value: Any
    note: str = ""
    commented: bool = False
    """Whether it is a commented-out suggestion."""

    def text(self) -> list[str]:
        """Return the line, with its note behind or above it."""
        stated = f"{'# ' if self.commented else ''}{key(self.key)} = {toml(self.value)}"
        if not self.note:
            return [stated]
        if len(stated) + len(self.note) < _COMMENT_AT:
            return [f"{stated}  # {self.note}"]
        return [f"# {self.note}", stated]


@dataclass
class Part:
    """One table of a mapping."""

    name: str
    sample: Sample
    lines: list[Line] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    limits: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, value: Any, note: str = "") -> None:
        """Add a key."""
        self.lines.append(Line(name, value, note))

    def suggest(self, name: str, value: Any, note: str) -> None:
        """Add a key that is commented out, below the same key if it is there."""
        at = next((place for place, one in enumerate(self.lines, 1) if one.key == name), len(self.lines))
        self.lines.insert(at, Line(name, value, note, commented=True))

    def column(self, name: str, choice: Choice, note: str = "") -> None:
        """Add a key that names a column, with the alternatives."""
        self.used.add(choice.column)
        notes = [note or choice.note]
        value: str | dict[str, str] = choice.column
        if name in _IDS and self.sample.columns[choice.column].share(r"^\d+[.]0$") == 1:
            value = {"expr": f"regexp_replace({column(choice.column)}, '[.]0$', '')"}
            notes.append("a program wrote these ids as numbers: 17850.0 becomes 17850")
        notes.append(f"or {' or '.join(map(toml, choice.others))}" if choice.others else "")
        self.add(name, value, "; ".join(filter(None, notes)))

    def first(self, name: str, candidates: Sequence[Column], note: str = "") -> str | None:
        """Add a key for the first candidate, if there is one; return its column."""
        if not candidates:
            return None
        others = tuple(one.name for one in candidates[1:4])
        self.column(name, Choice(candidates[0].name, others, note))
        return candidates[0].name

    def numbers(self, columns: Iterable[str]) -> NumberForm:
        """Add the keys for the form that reads the numbers of all these columns best, and return it."""
        read = [self.sample.columns[name] for name in columns]
        read = [one for one in read if one.share(r"^-?\d+([.]\d+)?$") < 1]
        forms = dict.fromkeys(form_of(dict(one.settings)) for column in read for one in column.number_forms[:6])
        if not forms:
            return PLAIN
        reads = {form: sum(pc.count(one.numbers(form)).as_py() for one in read) for form in forms}
        # Files with `;` come with decimal commas.
        usual = "," if self.sample.separator == ";" else "."
        first = min(forms, key=lambda form: (-reads[form], form.decimal != usual, len(settings_of(form))))
        tied = first != PLAIN and any(reads[form] == reads[first] for form in forms if form != first)
        for name, value in settings_of(first):
            self.add(name, value, "1.234 may be a thousand or one and a bit: check the examples" if tied else "")
        return first

    def time_format(self, name: str) -> str | list[str] | None:
        """Add the format of the times of a column unless it is the usual one, and return it."""
        column = self.sample.columns[name]
        if column.is_typed_time or not column.time_forms:
            return None
        formats: list[str] = [dict(one.settings)["time_format"] for one in best(column.time_forms)]
        if "timestamp" in formats:
            formats = ["timestamp"]
        first = min(formats, key=lambda form: (_month_first(form) != _is_american(self.sample), formats.index(form)))
        others = " or ".join(toml(form) for form in formats if form != first)
        notes = [f"uncertain: {others} reads as many; look at the examples of a check"] if others else []
        mixed = column.time_forms[0].reads < column.time_forms[0].of
        chosen: str | list[str] = first
        if mixed and (several := column_reader.several_times(column.stated, [first])):
            chosen, notes = dict(several.settings)["time_format"], ["tried in order", *notes]
        elif first == "timestamp":
            return None
        self.add("time_format", chosen, "; ".join(notes))
        return chosen

    def text(self) -> str:
        """Return the text of the part in a file."""
        unused = [name for name in self.sample.rows.column_names if name not in self.used]
        shown = [f"# Not used: {', '.join(unused)}"] if unused else []
        lines = [line for one in self.lines for line in one.text()]
        return "\n".join([*(f"# {one}" for one in self.comments), f"[{self.name}]", *lines, *shown]) + "\n"


def open_part(name: str, sample: Sample) -> Part:
    """Return a part with its files and their format."""
    part = Part(name, sample)
    part.add("file", sample.files[0] if len(sample.files) == 1 else list(sample.files))
    if sample.unnest:
        part.add("unnest", sample.unnest)
    if sample.separator != ",":
        part.add("separator", sample.separator)
    if sample.skip_lines:
        part.add("skip_lines", sample.skip_lines, "a title above the names of the columns")
    if sample.encoding != "utf-8":
        part.add("encoding", sample.encoding, sample.encoding_note)
    return part


def _month_first(time_format: str) -> bool:
    return "%m" in time_format and "%d" in time_format and time_format.index("%m") < time_format.index("%d")


def _is_american(sample: Sample) -> bool:
    """Return whether the rows are priced in dollars or come from the United States."""
    words = {value.upper() for one in sample.columns.values() if len(one.values) < 50 for value in one.values}
    return sample.separator != ";" and bool(words & {"USD", "US", "USA", "UNITED STATES"})


def add_currency(part: Part, money: Column | None, signs: Sequence[str]) -> None:
    """Add the column or the constant for the currency of a price; a guess that may be wrong is commented out."""
    coded = [
        one for one in part.sample.columns.values() if one.values and {w.lower() for w in one.values} <= _NAME_CODES
    ]
    for one in [*part.sample.named("currency"), *coded]:
        words = {word.upper() for word in one.values}
        if words and all(word in CODES or word in NAMES for word in words):
            part.column("currency", Choice(one.name))
            return
    if money is None:
        return
    in_name = [word.upper() for word in plain(money.name).split("_") if word in _NAME_CODES]
    written = list(dict.fromkeys(_code(sign) for sign in signs))
    codes = list(dict.fromkeys([*in_name, *written]))
    several = next((_SEVERAL[sign] for sign in signs if sign in _SEVERAL), ())
    if len(codes) > 1:
        several_codes = ", ".join(codes)
        part.comments.append(f"{money.name} has several currencies ({several_codes}): name a column that has them.")
    elif codes and several and not in_name:
        _constant(part, codes[0], f"{signs[0]} may also be {', '.join(several[1:])}", certain=False)
    elif codes:
        _constant(part, codes[0], f"as {money.name} {'says' if in_name else 'is written'}", certain=True)


def _code(sign: str) -> str:
    word = sign.upper()
    return word if word in CODES else NAMES[word]


def _constant(part: Part, code: str, note: str, *, certain: bool) -> None:
    """State the currency beside the other constants."""
    before = next((line for line in part.lines if line.key == "constants"), None)
    constants: dict[str, object] = {**(before.value if before else {}), "currency": code}
    if certain and before:
        part.lines[part.lines.index(before)] = type(before)("constants", constants, before.note or note)
    elif certain:
        part.add("constants", constants, note)
    else:
        instead = " in place of the line above" if before else ""
        part.suggest("constants", constants, f"the currency{instead}: {note}")


_DEPENDENT: Final = 0.95
_FINER: Final = 1.05
_SCALES: Final = tuple(frozenset(map(str, range(1, most + 1))) for most in (5, 10))


def order_by_cells(sample: Sample, user: Choice, item: Choice, times: Sequence[Column]) -> Column | None:
    """Return the finest column whose rows have one user and are of one day, but of several items."""
    people = sample.columns[user.column]
    orders = [
        one
        for one in repeated_ids(sample)
        if one.name not in (user.column, item.column)
        and len(one.values) > _FINER * len(people.values)
        and (dependency_share(one.texts, people.texts) or 0) >= _DEPENDENT
        and is_order(one, times)
    ]
    return max(orders, key=lambda one: len(one.values), default=None)


def amounts_by_cells(
    sample: Sample, taken: set[str], order: Column | None, quantity: Column | None = None
) -> dict[str, Column]:
    """Return the columns of quantity and price: small whole numbers and decimals, each the only one of its kind."""
    free = [one for one in sample.free(taken) if one.is_number]
    pieces = [quantity] if quantity else []
    pieces = pieces or [one for one in free if one.is_pieces and not (order and _counts_lines(order, one))]
    money = [one for one in free if one.is_decimal and one not in pieces]
    amounts = {"quantity": pieces[0]} if len(pieces) == 1 else {}
    return amounts | ({"price": money[0]} if len(money) == 1 else {})


def _counts_lines(order: Column, one: Column) -> bool:
    """Return whether a column numbers the lines of an order: no two lines have the same number."""
    pairs = pc.binary_join_element_wise(order.texts, one.texts, "\x1f")
    return pc.count_distinct(pairs).as_py() >= _DEPENDENT * len(pairs) and order.distinct < _DEPENDENT


@dataclass(frozen=True)
class LineColumns:
    """The columns of a table of events that hold its order, amounts and ratings, as far as they are known."""

    order: Column | None
    """The order, or the session."""
    is_session: bool
    quantity: Column | None
    price: Column | None
    """The price of one piece."""
    total: Column | None
    """The money of the whole line."""
    guess: Column | None
    """What may be a price, in a table without a price and a total."""
    ratings: list[Column]
    taken: set[str]
    """The names of the columns of users, items, times and orders."""

    @property
    def sold(self) -> bool:
        """Return whether rows are sales."""
        return bool(self.order or self.quantity or self.price or self.total)


def line_columns(part: Part, user: Choice, item: Choice, times: Sequence[Column]) -> LineColumns:
    """Return the columns; those that cells alone suggest are named in a comment of the part."""
    sample, taken = part.sample, {user.column, item.column, times[0].name}
    unnamed = kind_of(sample) != "events"
    orders, sessions = (sample.likely(role, taken) for role in ("order", "session"))
    order = next(iter([*orders, *sessions]), order_by_cells(sample, user, item, times) if unnamed else None)
    taken |= {order.name} if order else set()
    numbers = {role: sample.likely(role, taken) for role in ("quantity", "price", "total", "rating")}
    if not numbers["quantity"]:  # an amount may be of pieces
        numbers["quantity"] = [one for one in numbers["total"] if one.is_pieces]
        numbers["total"] = [one for one in numbers["total"] if one not in numbers["quantity"]]
    if unnamed:
        numbers |= _by_cells(part, taken, order, numbers)
    numbers["total"] = [one for one in numbers["total"] if not (order and is_per_order(sample, order.name, one.name))]
    quantity, price, total = (next(iter(numbers[role]), None) for role in ("quantity", "price", "total"))
    return LineColumns(
        order=order,
        is_session=order in sessions,
        quantity=quantity,
        price=price,
        total=total,
        guess=None if price or total else _likely_price(sample, taken, order, quantity),
        ratings=numbers["rating"],
        taken=taken,
    )


def _by_cells(
    part: Part, taken: set[str], order: Column | None, numbers: Mapping[str, list[Column]]
) -> dict[str, list[Column]]:
    """Return the columns of roles without any, by their cells."""
    priced = bool(numbers["price"] or numbers["total"])
    guesses = amounts_by_cells(part.sample, taken, order, next(iter(numbers["quantity"]), None))
    guesses = {role: one for role, one in guesses.items() if not (numbers[role] or (priced and role != "quantity"))}
    if guesses:
        guessed = ", ".join(f"{one.name} ({role})" for role, one in guesses.items())
        part.comments.append(f"Guessed from cells alone, look at the examples of a check: {guessed}.")
    return {role: [one] for role, one in guesses.items()}


def _likely_price(sample: Sample, taken: set[str], order: Column | None, quantity: Column | None) -> Column | None:
    """Return the column that may be a price: by a part of its name, else the only decimals beside a quantity."""
    free = [one for one in sample.free(taken) if one is not quantity and one.is_number]
    free = [one for one in free if not (order and is_per_order(sample, order.name, one.name))]
    by_name = [one for one in free if MONEY.search(plain(one.name))]
    decimals = [one for one in free if one.is_decimal] if quantity else []
    return next(iter(by_name or decimals), None) if by_name or len(decimals) == 1 else None


def likely_rating(sample: Sample, taken: set[str], quantity: Column | None) -> Column | None:
    """Return the column that may be a rating: it holds most of the numbers from 1 to 5 or to 10, and no others."""
    free = [one for one in sample.free(taken) if one not in (quantity, *sample.named("position"))]
    ratings = [
        one for one in free if any(one.values <= scale and len(one.values) > len(scale) / 2 for scale in _SCALES)
    ]
    return ratings[0] if len(ratings) == 1 else None
