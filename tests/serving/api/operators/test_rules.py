"""Rules over HTTP: scopes, versions, and hostile bodies."""

from dataclasses import replace
from typing import Any

import pytest

from tests.serving.api.conftest import Shop
from tests.serving.api.fakes import MemoryRules

pytestmark = pytest.mark.anyio
PIN = {"placement": "home", "item": "995242", "place": 1}
PATHS = ("rules", "placements", "champion", "ledger", "drift", "alerts")


def new(version: int = 0, **rules: Any) -> dict[str, Any]:
    return {"version": version, "comment": "a test", "rules": rules}


async def test_only_the_scope_admin_opens_the_endpoints_of_operators(shop: Shop) -> None:
    for path in PATHS:
        assert (await shop.client.get(f"/v1/{path}")).status_code == 200, path
        for scope in ("read", "write"):
            answer = await shop.client.get(f"/v1/{path}", headers=shop.headers(scope))
            assert answer.json()["type"] == "urn:tailorbird:problem:scope-required", path
    for method, path in (("PUT", "rules"), ("POST", "rules/undo"), ("POST", "preview")):
        answer = await shop.client.request(method, f"/v1/{path}", json={}, headers=shop.headers("write"))
        assert answer.status_code == 403, path


async def test_versions_follow_each_other_and_an_outdated_change_is_refused(shop: Shop) -> None:
    first = await shop.client.put("/v1/rules", json=new(pins=[PIN]) | {"author": "ann"})
    assert first.status_code == 200
    assert first.json()["current"] | {"rules": None} == {
        "version": 1,
        "author": "ann",
        "comment": "a test",
        "created_at": "2026-11-29T10:00:00Z",
        "restores": None,
        "rules": None,
    }
    assert first.json()["conflicts"] == [{"placement": "home", "detail": "a conflict", "rule": "/pins/0"}]
    outdated = await shop.client.put("/v1/rules", json=new(hides=[{"item": "995242"}]))
    assert outdated.status_code == 409
    assert outdated.json()["detail"] == "The current version is 1. Read the rules again, and repeat the change on them."
    undone = await shop.client.post("/v1/rules/undo", json={"version": 1, "comment": "too early"})
    assert (undone.json()["current"]["version"], undone.json()["current"]["rules"]["pins"]) == (2, [])
    assert undone.json()["current"]["author"] == "test"
    page = (await shop.client.get("/v1/rules?k=1")).json()
    assert [version["version"] for version in page["versions"]] == [2]
    assert page["next"] == "/v1/rules?k=1&offset=1"
    assert (await shop.client.get(page["next"])).json()["next"] is None
    missing = await shop.client.post("/v1/rules/undo", json={"version": 2, "target": 7, "comment": "back"})
    assert (missing.status_code, missing.json()["faults"][0]["place"]) == (422, "/target")


async def test_versions_with_many_rules_are_on_more_pages(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryRules, "most_versions", 2)
    for version in range(5):
        assert (await shop.client.put("/v1/rules", json=new(version))).status_code == 200
    pages, path = [], "/v1/rules?k=200"
    while path:
        page = (await shop.client.get(path)).json()
        pages.append([one["version"] for one in page["versions"]])
        path = page["next"]
    assert pages == [[5, 4], [3, 2], [1]]


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (new(pins=[PIN | {"item": "x" * 10_240}]), "/rules/pins/0/item"),
        (new(pins=[PIN | {"item": "a\0b"}]), "/rules/pins/0/item"),
        (new(pins=[PIN | {"place": 0}]), "/rules/pins/0/place"),
        (new(pins=[PIN | {"place": "1"}]), "/rules/pins/0/place"),
        (new(pins=[PIN | {"placement": "No!"}]), "/rules/pins/0/placement"),
        (new(pins=[PIN | {"until": "tomorrow"}]), "/rules/pins/0/until"),
        (new(pins=[PIN | {"until": "2999-01-01T00:00:00"}]), "/rules/pins/0/until"),
        (new(pins=[PIN | {"author": "mallory"}]), "/rules/pins/0/author"),
        (new(pins=[PIN] * 10_000), "/rules/pins"),
        (new(boosts=[{"placement": "home", "kind": "colour", "value": "red", "factor": 2}]), "/rules/boosts/0/kind"),
        (new(boosts=[{"placement": "home", "kind": "brand", "value": "A", "factor": 1e300}]), "/rules/boosts/0/factor"),
        (new(version=2**63), "/version"),
        (new() | {"comment": "a\x1b[31m"}, "/comment"),
        (new() | {"author": "x" * 10_000}, "/author"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_hostile_rules_are_refused_with_their_place(shop: Shop, body: dict[str, Any], place: str) -> None:
    answer = await shop.client.put("/v1/rules", json=body)
    assert answer.status_code == 422
    assert answer.json()["faults"][0]["place"] == place
    assert len(answer.content) < 10_000
    assert (await shop.client.get("/v1/rules")).json()["current"]["version"] == 0


@pytest.mark.parametrize("factor", ["NaN", "Infinity", "1e999"])
async def test_a_factor_that_is_no_number_is_refused(shop: Shop, factor: str) -> None:
    boost = f'{{"placement":"home","kind":"brand","value":"A","factor":{factor}}}'
    body = f'{{"version":0,"comment":"c","rules":{{"boosts":[{boost}]}}}}'
    answer = await shop.client.put("/v1/rules", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)


async def test_a_preview_logs_no_impression(shop: Shop) -> None:
    body = {"placement": "home", "user": "1", "k": 3, "rules": {"pins": [PIN]}}
    answer = (await shop.client.post("/v1/preview", json=body)).json()
    assert [len(answer[side]["items"]) for side in ("current", "edited")] == [3, 3]
    assert answer["current"]["items"][0]["reason"] == "Bought by many"
    assert shop.events.shown == []
    plain = (await shop.client.post("/v1/preview", json={"placement": "home"})).json()
    assert plain["edited"] is None


@pytest.mark.parametrize(
    ("body", "status", "place"),
    [
        ({"placement": "nowhere"}, 404, None),
        ({"placement": "home", "item": "1"}, 422, "/item"),
        ({"placement": "similar-items"}, 422, "/item"),
        ({"placement": "home", "k": 10_000}, 422, "/k"),
        ({"placement": "home", "user": "\0"}, 422, "/user"),
    ],
)
async def test_an_impossible_preview_is_refused(shop: Shop, body: Any, status: int, place: str | None) -> None:
    answer = await shop.client.post("/v1/preview", json=body)
    assert answer.status_code == status
    assert place is None or answer.json()["faults"][0]["place"] == place


async def test_a_server_without_a_database_answers_that_it_stores_no_rules(shop: Shop) -> None:
    shop.state.parts = replace(shop.state.parts, operators=None)
    for path in PATHS:
        assert (await shop.client.get(f"/v1/{path}")).status_code == 501, path


async def test_reports_are_paged(shop: Shop) -> None:
    page = await shop.client.get("/v1/ledger?k=2&offset=2")
    assert len(page.json()["batches"]) == 2
    assert page.headers["link"] == '</v1/ledger?k=2&offset=4>; rel="next"'
    assert (await shop.client.get("/v1/drift?k=2")).json()["next"] is None
    assert (await shop.client.get("/v1/champion?k=2")).status_code == 422
