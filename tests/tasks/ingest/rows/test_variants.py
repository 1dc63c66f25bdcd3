from typing import Any

import pyarrow as pa

from tasks.ingest.rows.variants import by_item, no_variants, variants_of, with_variants

CATALOGUE = pa.table(
    {
        "item_id": ["hat", "cap", "card", "s9"],
        "variant_ids": ["s1\ns2\nboth", "both\nhat\ns3", "s4", None],
    }
)
ITEMS = CATALOGUE["item_id"].combine_chunks()


def items_of(*ids: str | None) -> list[tuple[Any, ...]]:
    events = by_item(pa.table({"item_id": pa.array(ids, pa.string())}), variants_of(CATALOGUE, ITEMS))
    return list(zip(*events.to_pydict().values(), strict=True))


def test_an_event_on_a_variant_is_one_on_its_item_and_keeps_the_variant() -> None:
    assert items_of("s1", "s3", "cap", None) == [("hat", "s1"), ("cap", "s3"), ("cap", None), (None, None)]


def test_an_id_of_two_items_or_of_an_item_itself_stays() -> None:
    assert items_of("both", "hat", "unknown") == [("both", None), ("hat", None), ("unknown", None)]


def test_the_variants_of_an_item_are_known_with_it() -> None:
    assert with_variants(pa.array(["card"]), variants_of(CATALOGUE, ITEMS)).to_pylist() == ["card", "s4"]


def test_events_of_a_shop_without_variants_stay_as_they_are() -> None:
    events = pa.table({"item_id": ["a"]})
    assert by_item(events, no_variants()) is events
