import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from models.ingest.canonical_schema import ParsedLines
from models.ingest.segment.event_types import MEANINGS, Meaning, event_name, extended
from models.ingest.segment.interactions import allowed
from models.ingest.segment.parse import PageRule, parse_lines
from models.ingest.source_config import Spelling
from models.primitives.json_types import JsonObject

GOLDEN = Path(__file__).parents[3] / "golden" / "segment"
FILMS = PageRule("^/film/(?P<item_id>[^/?#]+)")
TRAITS = ["age", "favourite_categories", "email", "plan", "household"]
RULE = PageRule(r"/(film|série)/(?P<item_id>[^/?#']+)")


def numbered(lines: list[bytes]) -> pa.Table:
    return pa.table(
        {"row_number": pa.array(range(1, len(lines) + 1), pa.int64()), "text": pa.array(lines, pa.binary())}
    )


def shaped(*events: JsonObject, **options: Any) -> ParsedLines:
    return parse_lines(numbered([json.dumps(event).encode() for event in events]), **options)


def track(event: str, properties: Any, **envelope: Any) -> JsonObject:
    message = {"type": "track", "event": event, "properties": properties}
    return {**message, "messageId": "m", "userId": "u", "timestamp": "2024-06-01T10:00:00Z", **envelope}


def one(event: JsonObject, **options: Any) -> JsonObject:
    rows = shaped(event, **options).events.to_pylist()
    assert len(rows) == 1
    return dict(rows[0])


def plain(value: Any) -> Any:
    """A row as it is written in the golden file: times as text, nothing where there is null."""
    if isinstance(value, dict):
        return {name: plain(content) for name, content in value.items() if content is not None}
    return value.isoformat() if isinstance(value, datetime) else value


def test_the_golden_lines_give_exactly_the_golden_rows() -> None:
    lines = (GOLDEN / "segment.jsonl").read_bytes().split(b"\n")
    result = parse_lines(numbered(lines), FILMS, traits=TRAITS)
    expected = json.loads((GOLDEN / "segment.json").read_text(encoding="utf-8"))
    for name, rows in expected.items():
        assert [plain(row) for row in getattr(result, name).to_pylist()] == rows, name
    assert result.read == len(lines) + 3, "one line names two products more than one, one names one more"


def test_text_bytes_and_chunks_are_the_same_to_it() -> None:
    lines = numbered((GOLDEN / "segment.jsonl").read_bytes().split(b"\n")[:-1])
    expected = parse_lines(lines)
    as_text = lines.set_column(1, "text", lines["text"].cast(pa.large_string()))
    assert parse_lines(as_text) == expected
    assert parse_lines(pa.concat_tables([lines.slice(0, 7), lines.slice(7)])) == expected


def test_rows_come_in_the_order_of_the_lines() -> None:
    order = track("Order Completed", {"products": [{"sku": "a"}, {"sku": "b"}]})
    result = shaped(*[order, {"type": "group"}, {}] * 20_000)
    for rows in (result.events, result.routed, result.unreadable):
        numbers = rows["row_number"].to_pylist()
        assert numbers == sorted(numbers)
    assert result.events["item_id"].to_pylist() == ["a", "b"] * 20_000


def test_each_product_of_several_gets_an_id_of_its_own() -> None:
    rows = shaped(track("Order Completed", {"products": [{"product_id": "a"}, {"product_id": "b"}]})).events
    assert rows["event_id"].to_pylist() == ["m#1", "m#2"]
    assert one(track("Order Completed", {"products": [{"product_id": "a"}]}))["event_id"] == "m"


def test_a_line_without_an_id_gets_the_same_one_each_time() -> None:
    event = track("Product Viewed", {"sku": "a"}, messageId="")
    assert one(event)["event_id"] == one(event)["event_id"]
    assert one(event)["event_id"].startswith("sha256:")
    assert one(event)["event_id"] != one({**event, "userId": "v"})["event_id"]


@pytest.mark.parametrize(
    ("envelope", "user", "is_device"),
    [
        ({"anonymousId": "a"}, "u", False),
        ({"userId": None, "anonymousId": "a"}, "a", True),
        ({"userId": " ", "anonymousId": "a"}, "a", True),
        ({"userId": 123456789012345678901234567890}, "123456789012345678901234567890", False),
        ({"userId": {"id": 1}, "anonymousId": ["a"]}, None, False),
        ({"userId": "[vip] 7"}, "[vip] 7", False),
        ({"userId": "a\0b"}, "a\N{REPLACEMENT CHARACTER}b", False),
    ],
)
def test_a_person_is_the_user_or_else_the_anonymous_id(envelope: JsonObject, user: str | None, is_device: bool) -> None:
    row = one(track("Product Viewed", {"sku": "a"}, **envelope))
    assert (row["user_id"], row["is_device"]) == (user, is_device)


@pytest.mark.parametrize(
    ("properties", "item"),
    [
        ({"product_id": "p", "sku": "s", "id": "i"}, "p"),
        ({"sku": "s", "id": "i"}, "s"),
        ({"product_id": "", "sku": "s"}, "s"),
        ({"products": [{"product_id": "p"}]}, "p"),
        ({"product_id": "p", "products": [{"product_id": "also shown"}]}, "p"),
        ({"product_id": ["p"]}, None),
        ({}, None),
        (None, None),
    ],
)
def test_an_event_about_one_product_names_it(properties: Any, item: str | None) -> None:
    assert one(track("Product Viewed", properties))["item_id"] == item


@pytest.mark.parametrize(
    ("timestamp", "expected"),
    [
        ("2024-06-01T10:00:00.123Z", datetime(2024, 6, 1, 10, 0, 0, 123_000, tzinfo=UTC)),
        ("2024-06-01T10:00:00+02:00", datetime(2024, 6, 1, 8, tzinfo=UTC)),
        ("2024-06-01T10:00:00", datetime(2024, 6, 1, 10, tzinfo=UTC)),
        ("2024-06-01", datetime(2024, 6, 1, tzinfo=UTC)),
        *(
            (text, None)
            for text in ("yesterday", "infinity", "now", "", 1717236000, None, {}, "99999-01-01", "-44-01-01")
        ),
    ],
)
def test_a_time_is_the_instant_in_utc_or_null(timestamp: Any, expected: datetime | None) -> None:
    row = one(track("Product Viewed", {"sku": "a"}, timestamp=timestamp, originalTimestamp="2031-01-01T00:00:00Z"))
    assert row["occurred_at"] == expected


@pytest.mark.parametrize(
    ("block", "quantity", "value"),
    [
        ({"price": "2.50", "quantity": "4"}, 4.0, 10.0),
        ({"price": 81.99, "quantity": 3}, 3.0, 245.97),
        ({"price": 5, "value": 4}, None, 4.0),
        ({"price": "$5", "quantity": True}, None, 30.0),
        ({"price": "inf", "quantity": float("nan")}, None, 30.0),
        ({"price": 1e308, "quantity": 1e308}, 1e308, 30.0),
    ],
)
def test_numbers_are_read_from_text_and_are_finite(
    block: JsonObject, quantity: float | None, value: float | None
) -> None:
    order = {"revenue": "30", "total": 40, "products": [{"sku": "a", **block}]}
    row = one(track("Order Completed", order))
    assert (row["quantity"], row["value"]) == (quantity, value)


def test_the_average_rating_shown_with_a_product_is_no_rating() -> None:
    assert one(track("Product Viewed", {"sku": "a", "rating": 4.4}))["rating"] is None
    assert one(track("Product Reviewed", {"sku": "a", "rating": "4.5"}))["rating"] == 4.5


def test_a_refund_of_a_whole_order_names_the_order() -> None:
    row = one(track("Order Refunded", {"order_id": "o", "total": 30}, context={"sessionId": "visit"}))
    assert (row["event_type"], row["item_id"], row["session_id"], row["value"]) == ("refund", "*", "o", 30.0)


@pytest.mark.parametrize("nameless", [{"price": 5}, "sku-1", None])
def test_a_refund_that_lists_a_product_without_a_name_takes_no_whole_order_back(nameless: Any) -> None:
    result = shaped(track("Order Refunded", {"order_id": "o", "products": [{"sku": "a"}, nameless]}))
    assert result.events["item_id"].to_pylist() == ["a", None]


@pytest.mark.parametrize(
    ("event", "context", "properties", "session"),
    [
        ("Order Completed", {"sessionId": 5}, {"order_id": "o"}, "o"),
        ("Order Completed", {"sessionId": 5}, {}, "5"),
        ("Product Added", {"sessionId": 5}, {"cart_id": "c"}, "5"),
        ("Product Added", None, {"cart_id": "c"}, "c"),
        ("Product Viewed", None, {"session_id": "s"}, "s"),
        ("Product Viewed", "none", {}, None),
    ],
)
def test_a_session_is_the_order_or_else_the_visit(
    event: str, context: Any, properties: dict[str, str], session: str | None
) -> None:
    assert one(track(event, properties, context=context))["session_id"] == session


@pytest.mark.parametrize(
    ("preferences", "consent"),
    [
        ({"Ads": True, "a/b~c": True}, True),
        ({"Ads": True, "a/b~c": False}, False),
        ({"Ads": "yes"}, False),
        ({"Ads": None, "Analytics": True}, None),
        ({}, None),
        (None, None),
    ],
)
def test_consent_depends_on_the_configured_categories(preferences: Any, consent: bool | None) -> None:
    event = track("Product Viewed", {"sku": "a"}, context={"consent": {"categoryPreferences": preferences}})
    assert one(event, consent_categories=["Ads", "a/b~c"])["consent"] is consent
    assert one(event, consent_categories=[])["consent"] is None


def test_a_list_without_products_is_routed_and_an_order_without_any_is_not() -> None:
    result = shaped(track("Product List Viewed", {"list_id": "hot"}), track("Order Completed", {"order_id": "o"}))
    assert result.routed.to_pylist() == [{"row_number": 1, "kind": "list"}]
    assert result.events["row_number"].to_pylist() == [2]


def test_an_entry_that_is_no_product_is_an_event_without_an_item() -> None:
    rows = shaped(track("Order Completed", {"products": [{"sku": "a"}, None, 5, "b", {}, []]})).events
    assert rows["item_id"].to_pylist() == ["a", None, None, None, None, None]


@pytest.mark.parametrize(
    "event", ["Order Completed", "order completed", "order_completed", "orderCompleted", "ORDER-COMPLETED "]
)
def test_an_event_is_known_however_it_is_written(event: str) -> None:
    line = json.dumps({"type": "Track", "event": event, "properties": {"products": [{"sku": "a"}]}})
    events = parse_lines(pa.table({"row_number": [1], "text": [line]})).events
    assert events["event_type"].to_pylist() == ["purchase"]


def test_an_event_of_the_shops_own_is_routed_until_the_table_is_extended() -> None:
    line = json.dumps({"type": "track", "event": "Recipe Cooked", "properties": {"product_id": "soup"}})
    lines = pa.table({"row_number": [1], "text": [line]})
    assert parse_lines(lines).routed["kind"].to_pylist() == ["unknown_event"]
    events = parse_lines(lines, meanings=extended({"Recipe Cooked": "consume"})).events
    assert (events["event_type"].to_pylist(), events["item_id"].to_pylist()) == (["consume"], ["soup"])


def test_an_own_meaning_takes_the_place_of_the_shipped_one() -> None:
    table = extended({"Product Shared": Meaning("share", products=False)})
    assert table[event_name("product_shared")].event_type is None
    assert MEANINGS[event_name("product_shared")].event_type == "like"


def test_a_meaning_that_nothing_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no event type 'bought'"):
        extended({"Thing Bought": "bought"})
    with pytest.raises(ValueError, match="they have to be read"):
        Meaning("view", "view", products=False)


def visit(properties: Any, rule: PageRule | None = RULE, **envelope: Any) -> ParsedLines:
    line = json.dumps({"type": "page", "messageId": "m", "properties": properties, **envelope})
    return parse_lines(pa.table({"row_number": [1], "text": [line]}), rule)


@pytest.mark.parametrize(
    ("properties", "item"),
    [
        ({"path": "/film/metropolis"}, "metropolis"),
        ({"path": "/", "url": "https://films.example/film/m?x=1"}, "m"),
        ({"url": "https://films.example/série/7/2"}, "7"),
    ],
)
def test_a_visited_page_is_a_view_of_the_item_in_its_path_or_address(properties: dict[str, str], item: str) -> None:
    row = visit(properties).events.to_pylist()[0]
    assert (row["event_id"], row["event_type"], row["item_id"]) == ("m", "view", item)


@pytest.mark.parametrize("properties", [{"path": "/about"}, {"path": 5}, {}, None, [], "film/x"])
def test_a_page_about_no_item_is_routed(properties: Any) -> None:
    assert visit(properties).routed.to_pylist() == [{"row_number": 1, "kind": "page"}]


def test_a_screen_is_known_by_its_name() -> None:
    assert visit({}, type="screen", name="/film/m").events["item_id"].to_pylist() == ["m"]
    assert visit({}, type="screen", name="Home").routed["kind"].to_pylist() == ["screen"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("/film/(.+)", "has no group"),
        ("/film/(?P<item_id>", "is no regular expression"),
        ("/film/(?=x)(?P<item_id>.+)", "is no regular expression"),
    ],
)
def test_a_rule_that_cannot_work_is_refused(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PageRule(pattern)


def items(*calls: tuple[str, str, JsonObject]) -> dict[str, JsonObject]:
    """Return the catalogue updates of events, each a day of June 2024, a name and its properties."""
    events = [
        {"type": "track", "event": event, "properties": properties, "timestamp": f"2024-06-{day}T00:00:00Z"}
        for day, event, properties in calls
    ]
    lines = pa.table({"row_number": range(len(events)), "text": [json.dumps(event) for event in events]})
    return {row["item_id"]: row for row in parse_lines(lines).items.to_pylist()}


def test_the_latest_value_of_each_column_counts_in_any_order_of_the_lines() -> None:
    cup = items(
        ("03", "Product Viewed", {"product_id": "cup", "name": "New cup", "price": 3}),
        ("01", "Product Viewed", {"product_id": "cup", "name": "Old cup", "brand": "Clay", "price": 1}),
        ("02", "Product Viewed", {"product_id": "cup", "name": "Cup", "brand": "", "category": "Kitchen", "price": 2}),
    )["cup"]
    assert (cup["title"], cup["brand"], cup["category"], cup["price"]) == ("New cup", "Clay", "Kitchen", 3.0)
    assert (cup["occurred_at"].day, cup["row_number"]) == (3, 0)


def test_carts_and_checkouts_are_no_interactions_but_describe_their_products() -> None:
    block = {"sku": "a", "name": "Cup", "price": 2}
    for event in ("Cart Viewed", "Checkout Started", "Order Updated"):
        cup = items(("01", event, {"currency": "EUR", "products": [block]}))["a"]
        assert (cup["title"], cup["price"], cup["currency"]) == ("Cup", 2.0, "EUR")


def test_the_price_of_a_refund_is_not_that_of_today() -> None:
    result = items(
        ("01", "Product Viewed", {"sku": "a", "price": 2}),
        ("02", "Order Refunded", {"products": [{"sku": "a", "price": 1}]}),
    )
    assert result["a"]["price"] == 2.0


def test_a_product_that_is_only_named_and_an_unknown_event_give_no_item() -> None:
    assert items(("01", "Product Viewed", {"sku": "a"}), ("01", "Stock Counted", {"sku": "b", "name": "Pan"})) == {}


def test_spelling_is_normalised_in_events_and_in_the_catalogue_and_counted() -> None:
    block = {"sku": "a", "name": "Cup", "category": "kitchen", "brand": "CLAY  Co", "price": 2}
    line = {"type": "track", "event": "Order Completed", "properties": {"currency": "€", "products": [block, block]}}
    lines = pa.table({"row_number": [0], "text": [json.dumps(line)]})
    result = parse_lines(lines, spelling=Spelling(category={"Kitchen": "Cooking"}, brand={"clay co": "Clay & Co"}))
    item = result.items.to_pylist()[0]
    assert (item["category"], item["brand"], item["currency"]) == ("Cooking", "Clay & Co", "EUR")
    assert result.events["currency"].to_pylist() == ["EUR", "EUR"]
    assert result.cleaned == {"currency_respelt": 2, "category_respelt": 1, "brand_respelt": 1}
    assert parse_lines(lines).cleaned == {"currency_respelt": 2}


def test_each_column_has_its_time_if_the_times_differ() -> None:
    result = items(
        ("03", "Product Viewed", {"product_id": "cup", "price": 3}),
        ("01", "Product Viewed", {"product_id": "cup", "name": "Cup", "sku": "C-1", "price": 1}),
        ("01", "Product Viewed", {"product_id": "pan", "name": "Pan", "price": 1}),
    )
    days = {name: moment.day for name, moment in result["cup"]["said_at"].items() if moment}
    assert days == {"title": 1, "sku": 1, "price": 3}
    assert (result["pan"]["said_at"], result["pan"]["occurred_at"].day) == (None, 1)


def identify(traits: Any, **envelope: Any) -> JsonObject:
    return {"type": "identify", "userId": "u", "traits": traits, **envelope}


PERSONAL = ("email", "E-Mail", "name", "firstName", "last_name", "Full Name", "phone", "mobile_number", "home street")


@pytest.mark.parametrize("trait", PERSONAL)
def test_a_trait_that_identifies_a_person_is_never_kept_even_when_it_is_asked_for(trait: str) -> None:
    users = shaped(identify({trait: "x", "age": "30"}), traits=(trait, "age")).users
    assert users["attributes"].to_pylist() == [{"age": "30"}]


def test_only_traits_on_the_allow_list_are_kept_and_each_once() -> None:
    assert allowed(["age", "plan", "age"]) == ["age", "plan"]
    assert shaped(identify({"age": 30})).users["attributes"].to_pylist() == [{}]


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        ("25-34", "25-34"),
        (30, "30"),
        (True, "true"),
        (["Kitchen", "Garden"], '["Kitchen","Garden"]'),
        ({"email": "x"}, None),
        ([{"email": "x"}], None),
        ("peter@example.org", None),
        (["peter@example.org"], None),
        ("", None),
        (None, None),
        ("a\0b", "a\N{REPLACEMENT CHARACTER}b"),
    ],
)
def test_a_trait_is_a_plain_value_or_a_list_of_them_and_no_address_hides_in_it(value: Any, stored: str | None) -> None:
    assert shaped(identify({"plan": value}), traits=("plan",)).users["attributes"].to_pylist() == [{"plan": stored}]


def test_traits_may_have_any_name() -> None:
    traits = {"age": "1", "Age": "2", "a/b~c": "3", 'it\'s "x"': "4"}
    assert shaped(identify(traits), traits=tuple(traits)).users["attributes"].to_pylist() == [traits]


def test_identify_and_alias_state_which_ids_are_one_person() -> None:
    result = shaped(
        identify({}, anonymousId="a"),
        {"type": "alias", "previousId": "b", "userId": "u"},
        {"type": "alias", "anonymousId": "c", "userId": "u"},
        {"type": "alias", "previousId": "u", "userId": "u"},
        {"type": "identify", "anonymousId": "d"},
        {"type": "track", "event": "Product Viewed", "userId": "u", "anonymousId": "e"},
    )
    names = ("row_number", "anonymous_id", "is_device", "user_id")
    joined = [tuple(row[name] for name in names) for row in result.aliases.to_pylist()]
    assert joined == [
        *((1, "a", True, "u"), (2, "b", False, "u"), (2, "b", True, "u"), (3, "c", True, "u"), (4, "u", True, "u"))
    ]
    assert result.users["user_id"].to_pylist() == ["u", "d"]
    assert result.routed["kind"].to_pylist() == ["identify", "alias", "alias", "alias", "identify"]


def test_version_1_calls_the_product_id_id() -> None:
    assert one(track("Viewed Product", {"id": "i", "sku": "s"}))["item_id"] == "i"


def test_a_byte_order_mark_is_no_reason_to_lose_the_first_line() -> None:
    line = json.dumps(track("Product Viewed", {"sku": "a"})).encode("utf-8-sig")
    assert parse_lines(numbered([line])).events["item_id"].to_pylist() == ["a"]
