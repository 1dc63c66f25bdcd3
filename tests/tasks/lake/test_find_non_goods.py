"""A file with wrong prices makes no best seller a suspect with a line to paste: its undo is proposed."""

from pathlib import Path
from typing import Any

import pytest

from serving.terminal import screen
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.reference.ingest_reference import ingest_items
from tasks.lake.find_non_goods import find_suspects

pytestmark = pytest.mark.usefixtures("installation")

MAPPING = """
consent = "given"
consent_note = "by the terms of the shop"

[events]
file = "orders*.csv"
user_id = "user"
item_id = "item"
occurred_at = "at"
value = "price"
quantity = "pieces"
constants = { event_type = "purchase" }

[items]
file = "items.csv"
item_id = "item"
title = "title"
"""


def bring(folder: Path, name: str, price: float | None) -> dict[str, Any]:
    """Ingest a month of orders of 20 items, each at `price`, or else at its own."""
    rows = [
        f"user{n},{n % 20},2024-0{name}-{n % 28 + 1:02}T{n // 28 % 24:02}:00:00Z,{price or 40 + n % 20},1"
        for n in range(400)
    ]
    file = folder / f"orders-{name}.csv"
    file.write_text("\n".join(["user,item,at,price,pieces", *rows]) + "\n")
    line: dict[str, Any] = ingest_events.fn(str(folder / "shop.toml"), str(file))
    return line | {"file": str(file)}


def test_a_mapping_is_offered_no_line_for_the_items_of_another_source(tmp_path: Path) -> None:
    lines = {}
    for shop in ("books", "games"):
        (tmp_path / shop).mkdir()
        (tmp_path / shop / f"{shop}.toml").write_text(f'name = "{shop}"\n' + MAPPING)
        catalogue = tmp_path / shop / "items.csv"
        catalogue.write_text(f"item,title\n{shop}-1,Lantern\n{shop}-2,Postage\n")
        line = ingest_items.fn(str(tmp_path / shop / f"{shop}.toml"), str(catalogue))
        [lines[shop]] = find_suspects.fn(str(tmp_path / shop / f"{shop}.toml"), [line | {"file": str(catalogue)}])
    assert [row["item_id"] for row in lines["games"]["suspects"]] == ["games-2"]
    assert lines["games"]["suspects_mark"] == "not_merchandise = \"item in ('games-2')\""


def test_goods_are_kept_if_a_refund_of_others_took_back_none_of_their_purchases(tmp_path: Path) -> None:
    """A wholesaler who bought 500 pieces before the data begin returns them; of `back` every purchase is returned."""
    mapping = MAPPING.replace('constants = { event_type = "purchase" }', 'event_type = "kind"\nsession_id = "order"')
    (tmp_path / "shop.toml").write_text(mapping)
    (tmp_path / "items.csv").write_text("item,title\n1-kept,Lantern\n2-back,Lamp\n")
    lines = [f"u{n},{item},2024-01-{n + 1:02},9,2,purchase,o{n}" for n in range(6) for item in ("1-kept", "2-back")]
    lines.append("wholesaler,1-kept,2024-02-01,4500,500,refund,none")
    lines += [f"u{n},2-back,2024-02-01,9,2,refund,o{n}" for n in range(6)]
    (tmp_path / "orders.csv").write_text("\n".join(["user,item,at,price,pieces,kind,order", *lines]) + "\n")
    name = str(tmp_path / "shop.toml")
    ingest_items.fn(name, str(tmp_path / "items.csv"))
    line = ingest_events.fn(name, str(tmp_path / "orders.csv"))
    [found] = find_suspects.fn(name, [line | {"file": str(tmp_path / "orders.csv")}])
    assert [row["item_id"] for row in found["suspects"]] == ["2-back"]
    assert found["suspects"][0]["why"] == "none of its 6 purchases was kept"


def test_a_file_with_wrong_prices_is_named_with_its_undo_and_no_line_is_offered_to_paste(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    mapping = str(tmp_path / "shop.toml")
    (tmp_path / "shop.toml").write_text(MAPPING)
    goods = [f"{n},Lantern {n}" for n in range(20)]
    (tmp_path / "items.csv").write_text("\n".join(["item,title", *goods, "20,Postage"]) + "\n")
    ingest_items.fn(mapping, str(tmp_path / "items.csv"))
    for month in ("1", "2"):
        bring(tmp_path, month, None)
    wrong = bring(tmp_path, "3", 1.0)
    [line] = find_suspects.fn(mapping, [wrong])
    assert [row["item_id"] for row in line["suspects"]] == ["20"], "only the title names postage"
    assert line["suspects_mark"] == "not_merchandise = \"item in ('20')\""
    screen.show("ledger", [line])
    shown = " ".join(capsys.readouterr().out.split())
    assert "20 items, such as" in shown
    assert "In orders-3.csv 20 of them cost 1.00 in the median, and 49.50 in the files before." in shown
    assert f"tailorbird ledger undo {wrong['batch_id']}" in shown
