"""A version moves from one installation to another: two databases, lakes, keys and stores of MLflow."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import func, insert, select, text

from infra.bundles.promoted import verify_promoted
from infra.database.schema.schema import datasets, promotions, reviews, segments, suppressions, users
from infra.installation import Installation, current
from infra.keys import credentials
from infra.keys.credentials import PSEUDONYM, SIGNING
from infra.registry.client import Registry
from models.gate.results import Check, GroupResult, Outcome, gate_result
from models.primitives.json_types import JsonObject
from serving.queries.explain import explain
from serving.queries.user_recommendations import user_list
from tasks.datasets.load_dataset import open_dataset, stored_manifest
from tasks.ingest.events.ingest_events import ingest_events
from tasks.ingest.reference.ingest_reference import ingest_items, ingest_users
from tasks.promotion.apply_decision import promote
from tasks.promotion.champion import require_champion
from tasks.promotion.export_version import EXPORT, RUN, SIGNATURE, export_version
from tasks.promotion.import_version import ImportRefusedError, import_version
from tasks.promotion.recorded_bundles import TrainedBundle, record, register_version
from tasks.promotion.review_requests import Decision, request, review_of
from tasks.scoring.score_placement import score_placement
from tasks.training.train_model import _train
from tests.conftest import _forget, fresh_database
from tests.installations import choose
from tests.tasks.stages import Stage

PSEUDONYM_KEY, SIGNING_KEY = (credentials.variable(name) for name in (PSEUDONYM, SIGNING))
YES = Decision(True, "ann", "as good as there", "command")
GATE = gate_result(
    [Check("is tall", 1.8, 1.5, Outcome.PASSED, "1.8 m."), Check("is even", 0.9, 0.8, Outcome.WARNING, "0.9.")],
    [GroupResult("age", "30-39", 40, 0.3, 0.4, 0.1, float("nan"), 0.2, True, True)],
)


@pytest.fixture
def registry(stage: Stage, mlflow_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The registry of the first installation, with a trained version that waits for a decision."""
    monkeypatch.chdir(tmp_path)  # where such a store keeps artifacts
    registry, version = Registry(mlflow_store), stage.manifest["version"]
    with registry.active_run("own_frequency", "a key", {"half_life_days": 30}, {}) as run_id:
        digests = _train(registry, run_id, open_dataset(version), "own_frequency", {}, 7)
    trained = TrainedBundle(run_id, "a key", "own_frequency", version, *digests)
    record(stage.here.engine, trained)
    number = register_version(stage.here, registry, trained, {})
    registry.describe(number, "It waits.\n## Figures\n\nA fine model.\n\n## To decide\n\nhttp://staging")
    request(stage.here, version, number, trained, GATE, 0)
    return registry


@pytest.fixture
def exported(stage: Stage, registry: Registry, tmp_path: Path) -> Path:
    """The folder of that version."""
    export_version(stage.here, registry, 1, tmp_path / "export")
    return tmp_path / "export"


class Production(NamedTuple):
    """The second installation while it is the current one."""

    here: Installation
    registry: Registry

    def take(self, exported: Path) -> JsonObject:
        return import_version(self.here, self.registry, exported, "ann", "tried in staging")

    def approve(self) -> None:
        promote(self.here, self.registry, review_of(self.here, 1), YES)


Begin = Callable[..., AbstractContextManager[Production]]


@pytest.fixture
def begin(stage: Stage, other_database: str, postgres: Any, mlflow_tables: str, tmp_path: Path) -> Iterator[Begin]:
    """Return a function that opens a second installation: it has the pseudonym key of the first, and trusts it."""
    key, trusted = stage.here.key.decode(), credentials.public_key(stage.here.settings)

    @contextmanager
    def begin(pseudonym: str = key, public: str = trusted) -> Iterator[Production]:
        with pytest.MonkeyPatch.context() as patch:
            choose(patch, other_database, tmp_path / "production")
            patch.setenv(PSEUDONYM_KEY, pseudonym)
            patch.setenv(SIGNING_KEY, "5a" * 32)
            patch.setenv("TAILORBIRD_SIGNING_PUBLIC_KEY", public)
            _forget()
            yield Production(current(), Registry(store))
        _forget()

    urls = fresh_database(postgres, mlflow_tables)
    store = next(urls)
    yield begin
    next(urls, None)


def rows_of(here: Installation, table: Any) -> list[Any]:
    with here.engine.connect() as connection:
        return sorted(map(tuple, connection.execute(select(table)).all()))


def test_a_version_moves_with_its_figures_verdict_and_data_set_and_is_decided_like_any_other(
    stage: Stage, exported: Path, begin: Begin
) -> None:
    before, version = review_of(stage.here, 1), stage.manifest["version"]
    groups, kept = rows_of(stage.here, segments), open_dataset(version).interactions
    digest = before["digest"]
    with begin() as production:
        here = production.here
        moved = production.take(exported)
        assert (moved["version"], moved["kind"], moved["gate"]) == (1, "own_frequency", "passed")
        review = review_of(here, 1)
        assert review["passed"]
        assert review["gate"][1:] == before["gate"]
        assert review["gate"][0]["outcome"] == "passed"  # neither has a champion
        assert review["groups"] == before["groups"]
        card = production.registry.version(1).description
        assert card.startswith("Version 1 passed the gate")
        assert card.endswith("## Figures\n\nA fine model.")
        assert production.registry.aliases() == {"challenger": 1}
        assert rows_of(here, segments) == groups
        assert open_dataset(version).interactions.equals(kept)
        production.approve()
        champion = require_champion(here)
        assert verify_promoted(champion).first_digest == digest != champion["digest"]
        assert champion["metrics"]
        with here.engine.connect() as connection:
            action = text("SELECT actor, reason, detail ->> 'digest' FROM audit_log WHERE action = 'import a model'")
            assert [tuple(row) for row in connection.execute(action)] == [("ann", "tried in staging", digest)]


def test_a_second_import_and_one_after_a_decision_are_the_same_version(exported: Path, begin: Begin) -> None:
    with begin() as production:
        here = production.here
        for _ in range(2):
            assert production.take(exported)["version"] == 1
        production.approve()
        production.take(exported)
        assert review_of(here, 1)["decision"] == "approved"
        assert len(rows_of(here, reviews.c.model_version)) == len(rows_of(here, datasets.c.version)) == 1


def test_the_review_names_the_champion_that_a_version_was_compared_with(exported: Path, begin: Begin) -> None:
    with begin() as production:
        here = production.here
        production.take(exported)
        production.approve()
        manifest = stored_manifest(here)
        assert manifest is not None
        Stage(here, None, dict(manifest)).promote("most_popular", version=2)
        with here.engine.begin() as connection:
            connection.execute(reviews.delete())
        production.take(exported)
        first = review_of(here, 1)["gate"][0]
        assert (first["outcome"], first["name"]) == ("warning", "compared with the champion")
        assert first["detail"].endswith("as version 1, against no champion.")


def test_an_export_that_was_changed_leaves_nothing_here(exported: Path, begin: Begin, tmp_path: Path) -> None:
    with begin() as production:
        for name in (EXPORT, SIGNATURE, f"{RUN}/model/arrays.npz", f"{RUN}/evaluation/summary.json"):
            file, content = exported / name, (exported / name).read_bytes()
            (tmp_path / "elsewhere").write_bytes(content)
            for change in ("changed", "missing", "a link", "a pipe"):
                file.unlink()
                if change == "changed":
                    file.write_bytes(bytes([content[0] ^ 1]) + content[1:])
                elif change == "a link":
                    file.symlink_to(tmp_path / "elsewhere")
                elif change == "a pipe":
                    os.mkfifo(file)
                with pytest.raises(ImportRefusedError):
                    production.take(exported)
                file.unlink(missing_ok=True)
                file.touch()
            file.unlink()
            file.write_bytes(content)
        assert rows_of(production.here, reviews.c.model_version) == rows_of(production.here, datasets.c.version) == []
        assert production.registry.aliases() == {}
        assert production.take(exported)["version"] == 1


def test_an_export_names_no_file_outside_of_its_folder(
    stage: Stage, exported: Path, begin: Begin, tmp_path: Path
) -> None:
    stated = json.loads((exported / EXPORT).read_bytes())
    stated["files"]["../elsewhere"] = "0" * 64
    content = json.dumps(stated).encode()
    (exported / EXPORT).write_bytes(content)
    (exported / SIGNATURE).write_bytes(credentials.sign(stage.here.settings, content))
    shutil.copy(exported / EXPORT, tmp_path / "elsewhere")
    with begin() as production, pytest.raises(ImportRefusedError, match="no file of the folder"):
        production.take(exported)


def test_an_installation_that_is_not_trusted_is_refused_with_what_to_do(exported: Path, begin: Begin) -> None:
    with begin(public="") as production, pytest.raises(ImportRefusedError, match="TAILORBIRD_SIGNING_PUBLIC_KEY"):
        production.take(exported)


def test_other_pseudonyms_are_refused_with_what_to_do(exported: Path, begin: Begin) -> None:
    with begin(pseudonym="another key") as production, pytest.raises(ImportRefusedError, match="another pseudonym key"):
        production.take(exported)


@pytest.mark.parametrize("how", ["suppressed", "erased", "back before", "back since"])
def test_people_who_were_erased_here_do_not_return_with_a_model(
    stage: Stage, exported: Path, begin: Begin, how: str
) -> None:
    somebody = rows_of(stage.here, segments.c.user_key)[0][0]
    with begin() as production:
        here = production.here
        with here.engine.begin() as connection:
            if how == "suppressed":
                connection.execute(insert(suppressions).values(user_key=somebody, reason="left"))
            else:
                day = text("now() - interval '400 days'") if how == "back before" else func.now()
                row = {"user_key": somebody, "attributes": {}, "consent": how != "erased", "batch_id": ""}
                connection.execute(insert(users).values(row | {"consent_source": "web", "erased_at": day}))
        if how == "back before":  # what the person did since is in the data set
            production.take(exported)
            return
        with pytest.raises(ImportRefusedError, match="1 of its users were erased or suppressed here"):
            production.take(exported)
        assert rows_of(here, datasets.c.version) == []
        assert here.lake.stored_datasets() == {}


def test_lists_of_an_imported_champion_are_those_of_the_installation_that_trained_it(
    stage: Stage, registry: Registry, exported: Path, begin: Begin
) -> None:
    somebody = str(stage.shop.demographics["household_id"][0].as_py())
    promote(stage.here, registry, review_of(stage.here, 1), YES)
    score_placement.fn(k=5)
    there = user_list(stage.here.engine, somebody)
    with begin() as production:
        here = production.here
        ingest_items.fn("complete_journey", stage.shop.items_file)
        ingest_users.fn("complete_journey", stage.shop.users_file)
        ingest_events.fn("complete_journey", stage.shop.events_file)
        production.take(exported)
        production.approve()
        score_placement.fn(k=5)
        own = user_list(here.engine, somebody)
        assert [row["item_id"] for row in own] == [row["item_id"] for row in there] != []
        assert explain(here.engine, somebody, own[0]["item_id"])
        assert len(rows_of(here, promotions.c.promotion_id)) == 1
