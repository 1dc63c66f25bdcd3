import random

import pyarrow as pa

from expectations.batches import RULES
from models.ingest.tabular import transform
from models.ingest.tabular.duplicate_rows import chosen
from models.ingest.tabular.table_mapping import ItemsMapping
from tasks.ingest.reference.read_reference import condense


def test_an_item_takes_the_choice_of_each_column_over_all_its_rows() -> None:
    drawn = random.Random(5)  # noqa: S311 -- made-up data
    prices = [None, "1.50", "2.00", "10.00"]
    cells = {
        "code": [f"p{drawn.randrange(9)}" for _ in range(200)],
        "name": [drawn.choice([None, "Hat", "Cap", "Scarf"]) for _ in range(200)],
        "price": [drawn.choice(prices) for _ in range(200)],
        "colour": [drawn.choice([None, "red", "blue"]) for _ in range(200)],
        "pieces": [drawn.choice([None, "1", "2.5", "x"]) for _ in range(200)],
        "stock": [drawn.choice([None, "0", "3"]) for _ in range(200)],
        "sku": [f" s{number}" if number % 7 else None for number in range(200)],
    }
    mapping = ItemsMapping.model_validate(
        {
            "file": "f",
            "item_id": "code",
            "title": "name",
            "price": "price",
            "available": "stock",
            "attributes": ["colour", "pieces"],
            "variant_ids": [{"expr": "trim(sku)"}],
            "choose": {"title": "first", "price": "lowest", "available": "any", "colour": "all", "pieces": "sum"},
        }
    )
    rows = transform.items(pa.table({name: pa.array(own, pa.string()) for name, own in cells.items()}), mapping).rows
    numbered = rows.append_column("row_number", pa.array(range(200), pa.int64()))
    rules = RULES["items"]
    parts = [condense(part, rules) for part in (numbered.slice(0, 90), numbered.slice(90))]
    condensed = condense(pa.concat_tables(parts), rules)
    result = {row["item_id"]: row for row in chosen(condensed, "item_id", mapping.choices).to_pylist()}
    assert len(result) == 9
    for code, row in result.items():
        own = {
            name: [cell for cell, owner in zip(some, cells["code"], strict=True) if owner == code and cell]
            for name, some in cells.items()
        }
        assert row["title"] == own["name"][0]
        assert row["price"] == min(map(float, own["price"]))
        assert row["in_stock"] == ("3" in own["stock"])
        attributes = row["attributes"]
        assert attributes["colour"].split("\n") == sorted(set(own["colour"]))
        assert float(attributes["pieces"]) == sum(float(cell) for cell in own["pieces"] if cell != "x")
        assert attributes["variant_ids"].split("\n") == sorted(cell.strip() for cell in own["sku"])
