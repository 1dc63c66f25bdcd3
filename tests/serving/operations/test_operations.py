"""Rules, previews and reports on a real database, as the API uses them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, text

from infra.configuration.placements import configured
from infra.configuration.settings import load
from infra.database.experiment_rows import add_experiment, begin_experiment
from infra.database.schema.experiment_schema import experiment_readouts
from models.experiments.definition import parse_experiment
from models.lists.rules.layer.rule_layer import NO_RULES, NO_VERSION, HiddenItem, RuleLayer
from models.recommenders.item_based.item_evidence import ItemEvidence
from serving.answers.protocol import Answer, Filters, ListRequest, Visitor
from serving.answers.service import AnswerService
from serving.live.live_scorer import LiveListScorer
from serving.live.visitor_facts import StoredUsers
from serving.model.loaded_model import LoadedModel
from serving.operations.report_reader import ReportReader
from serving.operations.reports import Author, OutdatedVersionError, Paging, RefusedLayerError, UnknownVersionError
from serving.operations.rule_changes import MOST_RULES, Previews, RuleChanges
from serving.stores.catalogue import Catalogue
from serving.stores.postgres import Postgres
from serving.stores.rules import LayeredPlacements, RuleReader
from serving.stores.stores import Stores
from tests.published import published, shelf
from tests.serving.made_up_shop import ANN, BOB, NEW, PLACEMENTS, Holder, champion, ids, write
from tests.serving.operator_rules import boost, pin, store

pytestmark = pytest.mark.anyio

ANNA = Author("anna", "a test", "key")
LAYER = RuleLayer((pin("item-05"),), (HiddenItem(item="item-20"),), (boost("item-22", 2.0),))
TABLE = ["item-20", "item-21", "item-22"]


@dataclass
class Office:
    """The parts of operators, and a service of the same process."""

    changes: RuleChanges
    previews: Previews
    service: AnswerService
    stores: Stores


@asynccontextmanager
async def office(url: str, engine: Engine) -> AsyncIterator[Office]:
    stores = Stores(url, request_seconds=3.0)
    placements, loaded = LayeredPlacements(PLACEMENTS, stores.rules), champion().bundle
    models = Holder(LoadedModel(loaded, ItemEvidence.of(loaded.model), 1, 1))
    users = StoredUsers(stores.requests)
    live = LiveListScorer(models, placements, lambda: stores.catalogue.current, users)  # type: ignore[arg-type]
    service = AnswerService(models, placements, stores, live)
    changes = RuleChanges(engine, stores.rules, PLACEMENTS, lambda: stores.catalogue.current, models)
    async with stores.running(), service.running():
        yield Office(changes, Previews(service, live, stores.rules, changes), service, stores)
    live.close()


HOME = ListRequest("home", Visitor(ANN), 3)


async def test_a_stored_version_counts_in_the_next_answer_and_an_undo_in_the_one_after(
    stocked: tuple[str, Engine],
) -> None:
    async with office(*stocked) as opened:
        assert ids(await opened.service.recommend(HOME)) == TABLE
        stored = await opened.changes.save(LAYER, 0, ANNA)
        assert (stored.version, stored.layer.pins[0].author) == (1, "anna")
        assert ids(await opened.service.recommend(HOME)) == ["item-05", "item-22", "item-21"]
        undone = await opened.changes.undo(1, None, Author("bob", "too early", "key"))
        assert (undone.version, undone.restores, undone.layer) == (2, 0, NO_RULES)
        assert ids(await opened.service.recommend(HOME)) == TABLE
        again = await opened.changes.undo(2, None, ANNA)
        assert again.layer == LAYER
        current, versions = await opened.changes.history(2, 0)
        assert current == again
        assert [(one.version, one.author, one.restores) for one in versions] == [(3, "anna", 1), (2, "bob", 0)]


async def test_a_page_of_versions_is_bounded_by_their_rules(stocked: tuple[str, Engine]) -> None:
    many = [HiddenItem(item=f"item {number}") for number in range(MOST_RULES // 4)]
    for rules in ([], many, many, many, many, many, many[:1]):
        store(stocked[1], *rules)
    async with office(*stocked) as opened:
        pages: list[list[int]] = []
        while not pages or pages[-1][-1] > 1:
            current, versions = await opened.changes.history(200, sum(map(len, pages)))
            assert current.version == 7
            pages.append([one.version for one in versions])
        assert pages == [[7, 6, 5, 4], [3, 2, 1]]
        assert [one.version for one in (await opened.changes.history(2, 0)).versions] == [7, 6]
        assert (await opened.changes.history(2, 7)).versions == []


async def test_a_pin_of_an_item_newer_than_the_champion_is_a_conflict(stocked: tuple[str, Engine]) -> None:
    columns = "item_id, title, category, brand, price, currency, attributes, available, batch_id"
    write(stocked[1], f"INSERT INTO items ({columns}) VALUES ('new', 'New', '', '', 1, 'EUR', '{{}}', true, 'b')")
    async with office(*stocked) as opened:
        found = await opened.changes.conflicts(RuleLayer((pin("new"), pin("item-05", 2))))
        assert [(one.placement, one.detail.partition(";")[0]) for one in found] == [
            ("home", "'new' is pinned to place 1, and it is newer than the champion")
        ]


def test_a_change_that_this_server_cannot_read_at_once_is_stored(stocked: tuple[str, Engine]) -> None:
    nowhere = RuleReader(Postgres("postgresql://nobody@127.0.0.1:1/none", 1, 1.0))
    changes = RuleChanges(stocked[1], nowhere, PLACEMENTS, lambda: Catalogue.of({}, 0.0), Holder(None))
    stored = asyncio.run(changes.save(NO_RULES, 0, ANNA))
    assert (stored.version, nowhere.current) == (1, NO_VERSION)


async def test_of_two_changes_of_one_version_the_second_is_refused(stocked: tuple[str, Engine]) -> None:
    async with office(*stocked) as opened:
        results = await asyncio.gather(*(opened.changes.save(LAYER, 0, ANNA) for _ in range(4)), return_exceptions=True)
        assert sorted(type(result).__name__ for result in results) == [*["OutdatedVersionError"] * 3, "RuleVersion"]
        with pytest.raises(OutdatedVersionError, match="current version is 1"):
            await opened.changes.undo(0, None, ANNA)
        with pytest.raises(UnknownVersionError):
            await opened.changes.undo(1, 1, ANNA)


async def test_rules_are_checked_against_the_catalogue(stocked: tuple[str, Engine]) -> None:
    async with office(*stocked) as opened:
        with pytest.raises(RefusedLayerError) as refused:
            await opened.changes.save(RuleLayer((pin("unheard"),)), 0, ANNA)
        assert refused.value.faults[0].place == "/pins/0/item"
        assert (await opened.changes.current()).version == 0


ASKED = [
    (HOME, None),
    (ListRequest("home", Visitor(BOB), 5, filters=Filters(exclude=("item-21",))), None),
    (ListRequest("home", Visitor(NEW), 3), None),
    (ListRequest("home", Visitor(), 5), None),
    (ListRequest("home", Visitor(), 5, context=("item-03",)), None),
    (ListRequest("similar-items", Visitor(), 3), "item-00"),
    (ListRequest("similar-items", Visitor(), 3), "item-09"),
]
"""A published list, one with a filter, a newcomer, best sellers, a live list, and lists of items."""


async def test_a_preview_is_the_answer_after_saving(stocked: tuple[str, Engine]) -> None:
    pins = pin("item-05"), pin("item-07", 2, "similar-items")
    layer = RuleLayer(pins, (HiddenItem(item="item-20"), HiddenItem(item="item-01")), (boost("item-22", 2.0),))
    async with office(*stocked) as opened:

        async def answers() -> list[Answer]:
            await opened.service.upkeep.refresh()
            return [
                await (opened.service.recommend(one) if item is None else opened.service.similar(item, one))
                for one, item in ASKED
            ]

        before = await answers()
        made = [await opened.previews.preview(one, item, layer) for one, item in ASKED]
        with pytest.raises(RefusedLayerError):
            await opened.previews.preview(HOME, None, RuleLayer((pin("unheard"),)))
        assert (await opened.changes.current()).version == 0, "a preview changes nothing"
        await opened.changes.save(layer, 0, ANNA)
        after = await answers()
        for shown, current, edited in zip(made, before, after, strict=True):
            assert shown.edited is not None
            assert (shown.current.items, shown.edited.items) == (current.items, edited.items)
            assert shown.current.source == current.source
        assert {answer.source for answer in after} == {"table", "live", "popular"}
        again = [await opened.previews.preview(one, item, None) for one, item in ASKED]
        assert [one.current.items for one in again] == [one.items for one in after]


@pytest.mark.usefixtures("own_var")
async def test_reports_read_the_tables_as_the_serving_role_may(
    stocked: tuple[str, Engine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = stocked[1]
    (tmp_path / "placements.toml").write_text("[home]\nk = 3\n[email]\nk = 2\n")
    monkeypatch.setenv("TAILORBIRD_PLACEMENTS", str(tmp_path / "placements.toml"))
    store(engine, HiddenItem(item="item-20"))
    published(engine, {ANN: [("item-21", 0.8, "x")]}, shelf("second", k=1))
    for statement in (
        "INSERT INTO promotions (previous_promotion_id, model_version, kind, dataset_version, metrics, bundle, digest, "
        "actor, reason) VALUES (0, 1, 'als', 'v1', '{\"ndcg_10\": 0.2}', '/b', 'd', 'ann', 'better')",
        "INSERT INTO reviews (dataset_version, model_version, passed, gate) VALUES ('v2', 2, true, "
        '\'[{"name": "gain", "value": 0.1}]\')',
        "INSERT INTO ingest_batches (batch_id, dataset, source, location, status, consent, detail) "
        "VALUES ('b1', 'events', 'shop', '/data/a.csv', 'refused', 'given', 'too many errors')",
        "INSERT INTO retrain_requests (origin, reason, status, outcome, flow_run) "
        "VALUES ('drift', 'it drifted', 'failed', 'no data', 'run-7')",
        "INSERT INTO served_answers (recommendation_id, placement, source) VALUES ('r', 'home', 'table')",
        "INSERT INTO drift_calibrations (promotion_id, model_version, window_days, windows, reference_from, "
        "reference_to, calibration, made_by, reason) VALUES (1, 1, 7, 9, now(), now(), '{}', 'ann', 'usual')",
        "INSERT INTO drift_reports (calibration_id, promotion_id, model_version, window_from, window_to, verdict, "
        "joint, joint_threshold, drivers, signals, feed, decision, reasons, page) SELECT calibration_id, 1, 1, now(), "
        "now(), 'stable', 1.5, 3, '{}', '{}', '{}', 'none', '{}', "
        "'http://mlflow.example/report' FROM drift_calibrations",
        "INSERT INTO recommendation_weeks (week, placement, impressions, clicks, baskets, purchases, value, revenue, "
        "users) SELECT date '2026-11-30' - 7 * week, '', week, 0, 0, 0, 5, 20, 0 FROM generate_series(0, 3) AS week",
    ):
        write(engine, statement)
    settings = load()
    reader = ReportReader(engine, settings, configured(settings))
    home, similar, email = await reader.placements()
    assert (home.placement, home.k, home.lists, home.answers, home.state) == ("home", 3, 1, {"table": 1}, "fresh")
    assert home.operator_rules == ["item 'item-20' is hidden in all placements, by ann on 2026-11-29"]
    assert similar.state.startswith("no longer configured")
    assert (email.placement, email.batch_id, email.state) == ("email", None, "no lists yet")
    assert [(week.impressions, week.share) for week in await reader.earned(3)] == [(2, 0.25), (1, 0.25), (0, 0.25)]
    content = {"placements": ["home"], "ends": date(2999, 1, 1), "variants": {"own": {}, "best": {"k": 1}}}
    row = {"variant": "best", "metric": "click_through", "control": 0.05, "value": 0.06}
    readout = {"until": "2026-11-28T05:45+00:00", "claims": {"best": "A claim."}, "people": {"own": 7, "best": 8}}
    with engine.begin() as connection:
        known = add_experiment(connection, parse_experiment("spring", content, {"home": {"k": 3}}), "ann", {})
        begin_experiment(connection, known.experiment_id)
        stored = {"experiment_id": known.experiment_id, "until": "2026-11-28", "content": readout | {"metrics": [row]}}
        connection.execute(insert(experiment_readouts).values(stored))
    published(engine, {ANN: [("item-21", 0.8, "x")]}, shelf("third", "home~spring~best", k=1))
    (experiment,) = await reader.experiments()
    assert (experiment.name, experiment.state, experiment.claims) == ("spring", "running", ["A claim."])
    assert experiment.days == [(date(2026, 11, 28), 0.05, 0.06)]
    assert "home~spring~best" not in [report.placement for report in await reader.placements()]
    await reader.stop_experiment("spring", "ann", "enough is seen")
    (experiment,) = await reader.experiments()
    assert (experiment.state, experiment.stop_reason) == ("stopped", "enough is seen")
    both = await reader.champion()
    assert both.champion is not None
    assert both.challenger is not None
    assert (both.champion.version, both.champion.metrics, both.challenger.version) == (1, {"ndcg_10": 0.2}, 2)
    (batch,) = await reader.ledger(Paging(5, 0))
    assert (batch.file, batch.status) == ("a.csv", "refused")
    (window,) = await reader.drift(Paging(5, 0))
    assert (window.joint, window.page, window.model_page) == (1.5, "http://mlflow.example/report", None)
    alerts = await reader.alerts(Paging(5, 0))
    assert sorted(alert.kind for alert in alerts) == ["ingest-refused", "retrain-failed", "review-waits"]
    assert await reader.alerts(Paging(5, 3)) == []
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM operator_rules")).scalar_one() == 1
