from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from infra.database.engine import engine
from infra.database.experiment_rows import (
    add_experiment,
    all_experiments,
    begin_experiment,
    experiment_named,
    stop_experiment,
)
from models.experiments.definition import ExperimentError, parse_experiment
from tests.published import published, shelf

USERS = [f"user-{number:04}" for number in range(2_000)]
PLACEMENTS: dict[str, Any] = {"home": {"k": 3}, "email": {"k": 3, "policy": "discover"}, "cart": {}}
CONTROL: dict[str, Any] = {}
BEST: dict[str, Any] = {"model": "best_sellers"}
ENDS = (datetime.now(UTC) + timedelta(days=20)).date()


@pytest.fixture
def shop(database: str) -> Engine:
    opened = engine(database)
    with opened.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO users (user_key, attributes, consent, consent_source, batch_id) "
                "SELECT unnest(CAST(:keys AS text[])), '{}', true, 'test', 'b'"
            ),
            {"keys": USERS},
        )
    return opened


def start(shop: Engine, name: str, *variants: dict[str, Any], **form: Any) -> None:
    content = {"placements": ["home"], "ends": ENDS} | form
    content["variants"] = dict(zip(("control", "test", "other"), variants or (CONTROL, BEST), strict=False))
    with shop.begin() as connection:
        started = add_experiment(connection, parse_experiment(name, content, PLACEMENTS), "ann", {})
        begin_experiment(connection, started.experiment_id)


def rows(shop: Engine, statement: str, **values: Any) -> list[Any]:
    with shop.begin() as connection:
        return list(connection.execute(text(statement), values))


def assigned(shop: Engine, user: str | None, device: str | None = None, placement: str = "home") -> list[str]:
    """Return the variants of a visitor, the one that is served last."""
    found = rows(shop, "SELECT * FROM assign_variants(:p, :u, :d)", p=placement, u=user, d=device)
    return [f"{row.experiment}/{row.variant}" for row in found]


def served(shop: Engine, user: str, placement: str = "home") -> str:
    return str(rows(shop, "SELECT served_placement(:p, :u)", p=placement, u=user)[0][0])


def test_people_are_split_by_the_shares_and_keep_their_variant(shop: Engine) -> None:
    start(shop, "spring", CONTROL | {"share": 3}, BEST)
    first = {user: assigned(shop, user) for user in USERS}
    counts = Counter(variant for variants in first.values() for variant in variants)
    assert set(counts) == {"spring/control", "spring/test"}
    assert abs(counts["spring/test"] - 500) < 5 * (2_000 * 0.25 * 0.75) ** 0.5
    assert {user: assigned(shop, user) for user in USERS[:200]} == {user: first[user] for user in USERS[:200]}
    for user in USERS[:200]:
        expected = "home~spring~test" if first[user] == ["spring/test"] else "home"
        assert served(shop, user) == expected


def test_two_experiments_of_a_layer_have_different_people_and_independent_ones_share_them(shop: Engine) -> None:
    start(shop, "first", traffic=0.5)
    start(shop, "second", traffic=0.5)
    start(shop, "elsewhere", placements=["email"])
    found = [(assigned(shop, user), assigned(shop, user, placement="email")) for user in USERS]
    assert {len(home) for home, _ in found} == {1}
    names = Counter(home[0].partition("/")[0] for home, _ in found)
    assert abs(names["first"] - 1_000) < 5 * 500**0.5
    both = Counter((home[0].partition("/")[2], email[0].partition("/")[2]) for home, email in found)
    assert len(both) == 4
    assert max(both.values()) - min(both.values()) < 10 * 375**0.5


def test_a_full_layer_and_a_shared_placement_of_two_layers_are_refused(shop: Engine) -> None:
    start(shop, "first", traffic=0.7)
    with pytest.raises(ExperimentError, match="Too few people"):
        start(shop, "second", traffic=0.4)
    with pytest.raises(ExperimentError, match="in the layer 'home'"):
        start(shop, "third", traffic=0.1, layer="mine")
    with pytest.raises(ExperimentError, match="started before"):
        start(shop, "first", traffic=0.1)
    with shop.begin() as connection:
        stop_experiment(connection, experiment_named(connection, "first"), "ann", "enough seen")
    start(shop, "second", traffic=1.0)


def test_a_user_takes_over_the_variant_of_the_device_unless_the_user_has_one(shop: Engine) -> None:
    start(shop, "spring")
    others = {"spring/control": "spring/test", "spring/test": "spring/control"}
    changed = 0
    for number, user in enumerate(USERS[:60]):
        device = f"device-{number}"
        before = assigned(shop, None, device)
        alone = assigned(shop, f"nobody-{user}")  # a user without a row of consent takes no part
        assert alone == []
        changed += before[0] != assigned(shop, user, device)[0]
        assert assigned(shop, user) == before
        assert assigned(shop, user, f"another {device}") == before
    assert changed == 0
    known = {user: assigned(shop, user) for user in USERS[60:120]}
    for number, user in enumerate(USERS[60:120]):
        device = next(f"{number}-{at}" for at in range(100) if assigned(shop, None, f"{number}-{at}") != known[user])
        assert assigned(shop, None, device) == [others[known[user][0]]]
        assert assigned(shop, user, device) == known[user]


def test_an_alias_that_is_no_claim_carries_the_variant_to_the_user(shop: Engine) -> None:
    start(shop, "spring")
    devices = [f"device-{number}" for number in range(40)]
    before = [assigned(shop, None, device) for device in devices]
    add = "INSERT INTO aliases (anonymous_key, user_key, batch_id, claimed) VALUES (:device, :user, 'b', false)"
    for user, device in zip(USERS, devices, strict=False):
        rows_of = {"device": device, "user": user}
        with shop.begin() as connection:
            connection.execute(text(add), rows_of)
    assert [assigned(shop, user) for user in USERS[:40]] == before


def test_the_people_of_a_holdout_take_part_in_no_other_experiment(shop: Engine) -> None:
    start(shop, "always", CONTROL | {"share": 4}, BEST, holdout=True, placements=["home", "email", "cart"], layer="all")
    start(shop, "spring")
    found = {user: assigned(shop, user) for user in USERS}
    held_out = [user for user, variants in found.items() if "always/test" in variants]
    assert abs(len(held_out) - 400) < 5 * 320**0.5
    assert all(found[user] == ["always/test"] for user in held_out)
    assert {served(shop, user) for user in held_out} == {"home~always~test"}
    others = [user for user in USERS if user not in held_out]
    assert all(found[user][0] == "always/control" and found[user][1].startswith("spring/") for user in others)
    assert {served(shop, user) for user in others} == {"home", "home~spring~test"}


def test_a_ramp_adds_people_and_moves_none(shop: Engine) -> None:
    start(shop, "spring", ramp_days=10)
    first = {user for user in USERS if served(shop, user) != "home" or assigned(shop, user)}
    assert abs(len(first) - 200) < 5 * 180**0.5
    before = {user: assigned(shop, user) for user in first}
    rows_before = "UPDATE experiments SET started_at = now() - interval '5 days' RETURNING 1"
    rows(shop, rows_before)
    later = {user: assigned(shop, user) for user in USERS}
    assert abs(sum(map(bool, later.values())) - 1_000) < 5 * 500**0.5
    assert {user: later[user] for user in first} == before


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE users SET consent = false WHERE user_key = 'user-0001'",
        "INSERT INTO suppressions (user_key, reason) VALUES ('user-0001', 'restricted')",
        "INSERT INTO exclusions (user_key, kind, value) VALUES ('user-0001', 'placement', 'home')",
        "UPDATE experiments SET stopped_at = now()",
        "UPDATE experiments SET ends_at = now()",
        "UPDATE experiments SET started_at = NULL",
    ],
)
def test_nobody_is_assigned_without_consent_or_after_the_end(shop: Engine, change: str) -> None:
    start(shop, "spring")
    rows(shop, f"{change} RETURNING 1")
    assert assigned(shop, "user-0001") == []
    assert rows(shop, "SELECT FROM experiment_units") == []


def test_applications_read_the_list_of_the_persons_variant_alone(shop: Engine) -> None:
    start(shop, "spring")
    own = {user: [("a", 0.5, "own")] for user in USERS[:100]}
    published(shop, own, shelf(k=1))
    published(shop, {user: [("b", 0.5, "test")] for user in own}, shelf(placement="home~spring~test", k=1))
    shown = {
        row.user_key: row.item_id
        for row in rows(shop, "SELECT * FROM current_recommendations WHERE placement = 'home'")
    }
    assert shown == {user: "b" if served(shop, user) != "home" else "a" for user in own}
    assert set(shown.values()) == {"a", "b"}
    assert not rows(shop, "SELECT FROM current_recommendations WHERE placement <> 'home'")
    rows(shop, "UPDATE experiments SET stopped_at = now() RETURNING 1")
    assert {row.item_id for row in rows(shop, "SELECT * FROM current_recommendations")} == {"a"}


def test_a_started_experiment_keeps_the_placements_of_its_start(shop: Engine) -> None:
    rules = {"cap": {"category": 2}, "hide": {"purchase": 30.0}, "include": {"price": [1.0, 5.0]}}
    start(shop, "spring", CONTROL, {"k": 7, "rules": rules})
    with shop.connect() as connection:
        (experiment,) = all_experiments(connection)
    own = experiment.served["home~spring~test"]
    expected = parse_experiment(
        "spring",
        {"placements": ["home"], "ends": ENDS, "variants": {"control": {}, "test": {"k": 7, "rules": rules}}},
        PLACEMENTS,
    )
    assert own == expected.variants[1].placements["home"]
