from pathlib import Path

import pytest
from sqlalchemy import Engine

from infra.database.engine import engine as engine_of
from models.lists.rules.layer.rule_layer import HiddenItem
from models.lists.rules.placement_config import placements
from serving.queries.operator_rules import layer_over
from serving.terminal.settings import as_json, print_rules
from tests.serving.bundle_folders import promote, write_bundle
from tests.serving.made_up_shop import stock
from tests.serving.operator_rules import pin, store

FILE = placements({"home": {"k": 3, "rules": {"exclude": {"items": ["item-05"]}}}})


@pytest.fixture
def shop(database: str) -> Engine:
    engine = engine_of(database)
    stock(engine)
    return engine


def test_settings_show_both_layers_and_their_conflicts(shop: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    store(shop, HiddenItem(item="item-20"), pin("item-05", 2))
    layer = layer_over(shop, FILE)
    print_rules(FILE, layer)
    shown = " ".join(capsys.readouterr().out.split())
    assert "leaves out the items 'item-05'" in shown
    assert "Rules of operators: version 1 of" in shown
    assert "item 'item-05' is pinned to place 2 of home, by ann on 2026-11-29" in shown
    assert "item 'item-20' is hidden in all placements, by ann on 2026-11-29" in shown
    assert "Conflict in home: 'item-05' is pinned to place 2, and the file leaves it out" in shown
    stated = as_json(FILE, layer)
    assert (stated["operator_rules"]["version"], stated["operator_rules"]["author"]) == (1, "ann")
    assert all(rule in shown for rule in stated["operator_rules"]["rules"])
    assert [(one["placement"], one["rule"]) for one in stated["conflicts"]] == [("home", "/pins/0")]


@pytest.mark.usefixtures("own_var")
def test_settings_state_beside_a_pin_that_the_champion_does_not_have_its_item(
    shop: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    promote(shop, tmp_path / "bundle", write_bundle(tmp_path / "bundle"), 1)
    store(shop, HiddenItem(item="item-20"), pin("item-06", 2))
    print_rules(FILE, layer_over(shop, FILE))
    shown = " ".join(capsys.readouterr().out.split())
    assert "Conflict in home: 'item-06' is pinned to place 2, and it is newer than the champion" in shown
    assert shown.index("item 'item-06' is pinned") < shown.index("Conflict in home") < shown.index("item 'item-20' is")
    (tmp_path / "bundle" / "config.json").unlink()
    print_rules(FILE, layer_over(shop, FILE))
    assert "The pins were not compared with the champion: " in capsys.readouterr().out


def test_settings_state_that_there_are_no_rules(shop: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    layer = layer_over(shop, FILE)
    print_rules(FILE, layer)
    assert capsys.readouterr().out.endswith("Rules of operators: none\n")
    as_stated = as_json(FILE, layer)
    assert as_stated["operator_rules"]["version"] == 0
