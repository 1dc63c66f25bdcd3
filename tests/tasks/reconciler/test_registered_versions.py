"""Registered versions that somebody with write access to MLflow altered, on every way that opens or promotes them."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy import select, text

from flows.commands import services
from infra.bundles.manifest import BundleRefusedError
from infra.database.schema.schema import promotions
from infra.installation import Installation
from infra.outages import explain
from infra.prefect_api import events
from infra.registry.client import MODEL_PATH, Registry
from infra.registry.connection import NAME
from infra.registry.registered_bundles import downloaded_model, signed_manifest
from infra.registry.verified_models import SharedFolderError
from infra.services.embedded_postgres import EmbeddedPostgres
from models.datasets.dataset import Dataset
from models.errors import TailorbirdError
from models.gate.results import Check, GateResult, Outcome
from models.recommenders.baselines.most_popular import Config, MostPopular, popularity
from models.recommenders.baselines.own_frequency import Config as Settings
from models.recommenders.baselines.own_frequency import OwnFrequency
from tasks.orchestration.run_artifacts import TRAINING, VERSION, of_version
from tasks.promotion.apply_decision import apply_decision, promote
from tasks.promotion.recorded_bundles import (
    EVALUATION_PATH,
    AlteredEvaluationError,
    TrainedBundle,
    evaluation_of,
    recorded_all,
    register_version,
)
from tasks.promotion.review_requests import Decision, request, review_of
from tasks.reconciler.check_registered_versions import ALTERED, INTEGRITY, Checks, check_registered_versions
from tasks.reconciler.mlflow_requests import apply_moved_alias
from tests.conftest import fresh_database
from tests.models.conftest import CUT, CUTS, make_shop
from tests.recording_server import RecordingServer
from tests.tasks.reconciler.altered_versions import ATTACKS, Shop, measured, swapped, trained

RUN = "a" * 32
YES = Decision(True, "ann", "fine", "command")


@pytest.fixture(scope="module")
def mlflow_database(
    postgres: EmbeddedPostgres, mlflow_tables: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """MLflow's own store, without its server: what these tests write stands for anybody with write access."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("mlflow"))  # where such a store keeps artifacts
        yield from fresh_database(postgres, mlflow_tables)


@pytest.fixture
def shop(installation: Installation, mlflow_database: str, tmp_path: Path, recorder: RecordingServer) -> Shop:
    places = {"prefect_api_url": f"{recorder.url}/api", "mlflow_tracking_uri": mlflow_database}
    endpoints = replace(installation.endpoints, **places)
    here, registry = replace(installation, endpoints=endpoints), Registry(mlflow_database)
    data = Dataset(CUTS, *make_shop(seed=1)).training_data(CUT)
    popular = popularity(data)
    frequency = OwnFrequency.fit(data, OwnFrequency.config_type(), 7)
    run_id, digest = trained(here, registry, tmp_path / "first", frequency, popular)
    _, _ = trained(here, registry, tmp_path / "other", MostPopular.fit(data, Config(), 0), popular)
    number = registry.register(run_id, {})
    bundle = TrainedBundle(run_id, "a key", "own_frequency", "v1", digest, "figures")
    request(here, "v1", number, bundle, GateResult(True, (Check("is tall", 1.0, 2.0, Outcome.PASSED, "1 m."),)), 0)
    artifact = Path(urlsplit(registry.run(run_id).artifact_uri).path) / MODEL_PATH
    return Shop(here, registry, number, run_id, digest, artifact, tmp_path / "other" / MODEL_PATH)


class Bare(RecordingServer):
    """An MLflow server that knows every run, and has none of the artifacts that it is asked for."""

    def answer(self, path: str, _payload: Any) -> tuple[int, Any]:
        if "/runs/get" in path:
            info = {"run_id": RUN, "artifact_uri": f"mlflow-artifacts:/1/{RUN}/artifacts", "status": "FINISHED"}
            return 200, {"run": {"info": info, "data": {}}}
        return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no"}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_altered_version_is_neither_copied_nor_promoted_by_command_or_alias_and_nothing_of_it_runs(
    shop: Shop, tmp_path: Path, attack: str
) -> None:
    sentinel, before = tmp_path / "sentinel", review_of(shop.here, shop.number)
    ATTACKS[attack](shop, sentinel)
    with pytest.raises(BundleRefusedError):
        shop.copied(tmp_path / "copies")
    assert not (tmp_path / "copies").exists()
    with pytest.raises(BundleRefusedError):
        apply_decision(shop.here, shop.registry, shop.number, YES)
    shop.registry.set_alias("champion", shop.number)
    assert "was put back" in "".join(apply_moved_alias(shop.here, shop.registry))
    assert "champion" not in shop.registry.aliases()
    assert "was put back" in shop.registry.version(shop.number).tags["review_note"]
    assert (shop.promoted(), review_of(shop.here, shop.number)) == ([], before)
    assert not sentinel.exists()


def test_a_sound_version_is_copied_to_a_folder_of_its_owner_that_mlflow_opens(shop: Shop, tmp_path: Path) -> None:
    folder = shop.copied(tmp_path / "copies")
    assert folder == tmp_path / "copies" / shop.digest
    assert folder.stat().st_mode & 0o077 == 0
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in shop.artifact.iterdir())
    assert shop.copied() == shop.here.settings.var / "verified" / shop.digest
    rows = mlflow.pyfunc.load_model(str(folder)).predict(pd.DataFrame({"user": ["ab" * 32], "k": [3]}))
    assert list(rows["run_id"]) == [shop.run_id] * 3
    shutil.rmtree(folder)
    shutil.copytree(shop.other, folder)
    with pytest.raises(BundleRefusedError, match="another bundle than the recorded one"):
        mlflow.pyfunc.load_model(str(folder))


@pytest.mark.parametrize("attack", ["pickle", "code", "swap"])  # arrays are compared at the promotion
def test_a_model_that_was_altered_between_training_and_review_is_refused_at_the_gate(
    shop: Shop, tmp_path: Path, attack: str
) -> None:
    bundle = TrainedBundle(shop.run_id, "a key", "own_frequency", "v1", shop.digest, "figures")
    assert register_version(shop.here, shop.registry, bundle, {}) == shop.number
    ATTACKS[attack](shop, tmp_path / "sentinel")
    with pytest.raises(BundleRefusedError):
        register_version(shop.here, shop.registry, bundle, {})


def test_figures_that_were_altered_between_training_and_review_are_not_read(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "evaluation"
    digest = measured(folder, 0.1)
    shop.registry.log_folder(shop.run_id, folder, EVALUATION_PATH)
    assert evaluation_of(shop.registry, shop.run_id, digest).summary["ndcg_at_10"] == 0.1
    measured(folder, 0.9)
    shop.registry.log_folder(shop.run_id, folder, EVALUATION_PATH)
    with pytest.raises(AlteredEvaluationError, match=f"figures of run {shop.run_id} in MLflow are not those"):
        evaluation_of(shop.registry, shop.run_id, digest)
    with pytest.raises(AlteredEvaluationError):
        apply_decision(shop.here, shop.registry, shop.number, YES)
    assert shop.promoted() == []


def test_facts_about_a_version_come_from_its_signed_manifest_not_from_tags(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILORBIRD_MLFLOW_PAGE", shop.here.endpoints.mlflow_page)
    client = MlflowClient(shop.registry.tracking_uri)
    client.log_param(shop.run_id, "another", "1")
    tags = {"search_run": "x) ![](http://evil.example/p.png", "prefect_run": "http://evil.example/"}
    for name, value in (tags | {"kind": "als", "seed": "9"}).items():
        client.set_tag(shop.run_id, name, value)
    manifest = signed_manifest(shop.registry, shop.run_id)
    assert (manifest.kind, manifest.seed, manifest.parameters) == ("own_frequency", 7, asdict(Settings()))
    assert set(of_version(shop.here, shop.registry, shop.number, shop.run_id, "v1")) == {VERSION, TRAINING}


def test_a_model_that_mlflow_lacks_is_refused_and_a_server_that_is_gone_is_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    missing = "cannot be downloaded: model is missing, is a link or holds one"
    with Bare() as server, pytest.raises(BundleRefusedError, match=missing):
        downloaded_model(Registry(server.url), RUN).__enter__()
    with pytest.raises(MlflowException) as broken:
        downloaded_model(Registry(server.url), RUN).__enter__()
    assert str(explain(broken.value)).startswith("MLflow cannot be reached")


def test_a_run_of_anybody_else_is_not_reviewed(shop: Shop) -> None:
    assert set(recorded_all(shop.here.engine, [shop.run_id])) == {shop.run_id}
    with pytest.raises(TailorbirdError, match=r"No training here recorded the run strange .* `tailorbird review`"):
        recorded_all(shop.here.engine, [shop.run_id, "strange"])


def test_a_version_that_mlflow_loads_from_elsewhere_is_refused(shop: Shop) -> None:
    elsewhere = str(shop.other)
    client = MlflowClient(shop.registry.tracking_uri)
    number = int(client.create_model_version(NAME, elsewhere, shop.run_id, await_creation_for=0).version)
    known = review_of(shop.here, shop.number)
    with shop.here.engine.begin() as connection:
        connection.execute(text(f"UPDATE reviews SET model_version = {number}"))
    ways: list[Callable[[], Any]] = [
        lambda: shop.copied(model=f"models:/{NAME}/{number}"),
        lambda: apply_decision(shop.here, shop.registry, number, YES),
    ]
    for way in ways:
        with pytest.raises(BundleRefusedError, match=f"loads version {number} from '{elsewhere}'"):
            way()
    assert (known["decision"], shop.promoted()) == (None, [])


def test_a_promoted_version_has_the_name_of_its_signed_manifest_and_the_figures_of_its_training(shop: Shop) -> None:
    client = MlflowClient(shop.registry.tracking_uri)
    client.set_tag(shop.run_id, "kind", "als")
    client.log_metric(shop.run_id, "ndcg_at_10", 0.99)
    client.log_metric(shop.run_id, "another", 1.0)
    promote(shop.here, shop.registry, review_of(shop.here, shop.number), YES)
    with shop.here.engine.connect() as connection:
        row = connection.execute(select(promotions)).mappings().one()
    assert (row["kind"], row["run_id"], row["digest"]) == ("own_frequency", shop.run_id, shop.digest)
    assert row["metrics"] == {"ndcg_at_10": 0.25}
    services.verify()  # the champion
    with shop.here.engine.begin() as connection:
        connection.execute(text("UPDATE promotions SET kind = 'als'"))
    with pytest.raises(BundleRefusedError, match=f"names als of run {shop.run_id}, but its bundle is own_frequency"):
        services.verify()


def test_a_version_without_a_record_and_a_champion_alias_that_was_moved_are_refused(shop: Shop) -> None:
    shop.registry.set_alias("champion", shop.number)
    with pytest.raises(BundleRefusedError, match=f"on version {shop.number} in MLflow, which is not the promoted one"):
        shop.copied(model=f"models:/{NAME}@champion")
    with shop.here.engine.begin() as connection:
        connection.execute(text("UPDATE reviews SET digest = NULL"))
    with pytest.raises(BundleRefusedError, match=r"nothing vouches for it: run `tailorbird review`"):
        shop.copied()
    shop.registry.drop_alias("champion")


def test_without_a_database_only_the_signed_run_or_the_given_digest_is_accepted(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TAILORBIRD_DATABASE_URL")
    assert shop.copied(tmp_path / "copies", shop.digest).name == shop.digest
    with pytest.raises(BundleRefusedError, match="another bundle than the recorded one"):
        shop.copied(tmp_path / "copies", "0" * 64)
    swapped(shop, tmp_path)
    with pytest.raises(BundleRefusedError, match="holds the signed model of another run"):
        shop.copied(tmp_path / "copies")


def test_a_link_that_others_could_repoint_is_not_named_to_a_server(
    shop: Shop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shared").mkdir(mode=0o777)
    (tmp_path / "shared" / "link").symlink_to(shop.other)
    services.verify(str(tmp_path / "shared" / "link"))
    assert capsys.readouterr().out.strip() == str(shop.other)


@pytest.mark.parametrize("shared", ["the folder", "a file", "the path"])
def test_a_folder_that_others_can_change_is_not_named_to_a_server(shop: Shop, tmp_path: Path, shared: str) -> None:
    place = tmp_path / "shared" / "model"
    shutil.copytree(shop.artifact, place)
    services.verify(str(place))
    {"the folder": place, "a file": place / "MLmodel", "the path": place.parent}[shared].chmod(0o777)
    with pytest.raises(SharedFolderError, match="Other users can change"):
        services.verify(str(place))


def test_altered_versions_are_marked_with_one_alert_and_restored_ones_are_cleared(
    shop: Shop, recorder: RecordingServer, tmp_path: Path
) -> None:
    def check(checks: Checks) -> list[dict[str, Any]]:
        check_registered_versions(shop.here, checks)
        mine = f"tailorbird.model-version.{shop.number}"
        return [event["event"] for event in recorder.events() if event["resource"]["prefect.resource.id"] == mine]

    sound = tmp_path / "sound"
    shutil.copytree(shop.artifact, sound)
    assert check(Checks()) == []
    for at, attack in enumerate(ATTACKS.values(), 1):
        attack(shop, tmp_path / "sentinel")
        checks = Checks()
        assert check(checks) == check(checks) == [events.ALTERED_VERSION] * at
        page = shop.registry.version(shop.number)
        assert page.tags[INTEGRITY] == ALTERED
        assert page.description.startswith("**Altered, do not use: ")
        shutil.rmtree(shop.artifact)
        shutil.copytree(sound, shop.artifact)
        check(Checks())
        page = shop.registry.version(shop.number)
        assert (INTEGRITY in page.tags, page.description) == (False, "")
    content = bytearray((shop.artifact / "arrays.npz").read_bytes())
    content[-1] ^= 1
    (shop.artifact / "arrays.npz").write_bytes(content)
    assert check(Checks())[len(ATTACKS) :] == [events.ALTERED_VERSION]
    assert not (tmp_path / "sentinel").exists()
