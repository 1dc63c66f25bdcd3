"""What MLflow and `var` hold of an erased user: figures and reports at once, models until a newer champion."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from infra.configuration.settings import load
from infra.database.schema.privacy_schema import ERASE
from infra.registry.connection import VersionGoneError
from models.errors import TailorbirdError
from tasks.datasets.build_dataset import build_dataset, split_by
from tasks.datasets.load_dataset import stored_manifest
from tasks.monitoring.retraining.requests import open_request
from tasks.privacy import erased_models
from tasks.privacy.erase_users import erase_users
from tasks.privacy.erased_models import erase_figures, forget_models
from tasks.privacy.requests import ask, requests
from tasks.promotion.recorded_bundles import TrainedBundle, evaluation_digest, evaluation_of, record, recorded
from tasks.scoring.roll_back import roll_back_model
from tests.tasks.privacy.conftest import Store
from tests.tasks.privacy.stores import keys_of, person
from tests.tasks.stopped_steps import KilledError, ends_at

PAGE = "<h2>People</h2><h3>{gone} <small>3</small></h3><p>milk</p><h3>{stays} <small>4</small></h3><h2>Plots</h2>"


def trained(published: Any, store: Store, gone: str, stays: str, folder: Path) -> str:
    """A recorded run with figures of both people, and a report that shows both; returns its id."""
    run_id = store.start_run("als", "a key", {}, {})
    for name in ("evaluation", "review", "model"):
        (folder / name).mkdir(parents=True)
    pq.write_table(pa.table({"user_key": [gone, stays]}), folder / "evaluation" / "per_user.parquet")
    (folder / "evaluation" / "summary.json").write_text("{}")
    (folder / "review" / "report.html").write_text(PAGE.format(gone=gone[:8], stays=stays[:8]))
    (folder / "model" / "arrays.npz").write_text(gone)
    store.log_folder(run_id, folder)
    store.register(run_id, {})
    digest, version = evaluation_digest(folder / "evaluation"), published.manifest["version"]
    record(published.here.engine, TrainedBundle(run_id, "a key", "als", version, f"digest {run_id}", digest))
    return run_id


def texts(store: Store, run_id: str) -> dict[str, str]:
    """Every artifact of a run."""
    folder = Path(urlsplit(store.run(run_id).artifact_uri).path)
    return {str(path.relative_to(folder)): path.read_bytes().decode("latin-1") for path in folder.rglob("*.*")}


@pytest.mark.parametrize("moment", [None, 0, 1, 2, 3])
def test_figures_and_reports_lose_one_person_and_stay_trusted_after_a_stop_at_any_moment(
    published: Any, store: Store, tmp_path: Path, moment: int | None
) -> None:
    here, keys = published.here, keys_of(published.here)
    gone, stays = (keys[person(published, at)] for at in (2, 3))
    run_id = trained(published, store, gone, stays, tmp_path / "run")
    if moment is not None:
        with pytest.MonkeyPatch.context() as patch:
            ends_at(patch, moment, [(erased_models, "update"), (Store, "log_file")])
            with pytest.raises(KilledError):
                erase_figures(here.engine, store, pa.array([gone]))
    erase_figures(here.engine, store, pa.array([gone]))
    digest = recorded(here.engine, run_id).evaluation_digest  # type: ignore[union-attr]  # it was just recorded
    assert evaluation_of(store, run_id, digest).per_user["user_key"].to_pylist() == [stays]
    report = texts(store, run_id)["review/report.html"]
    assert (gone[:8] in report, stays[:8] in report, "<h2>Plots</h2>" in report) == (False, True, True)
    assert erase_figures(here.engine, store, pa.array([gone])).total() == 0


def test_figures_that_somebody_changed_lose_the_person_and_stay_refused(
    published: Any, store: Store, tmp_path: Path
) -> None:
    run_id = trained(published, store, "a" * 64, "b" * 64, tmp_path / "run")
    (tmp_path / "summary.json").write_text('{"ndcg_at_10": 1}')
    store.log_file(run_id, tmp_path / "summary.json", "evaluation")
    erase_figures(published.here.engine, store, pa.array(["a" * 64]))
    digest = recorded(published.here.engine, run_id).evaluation_digest  # type: ignore[union-attr]  # as above
    with pytest.raises(TailorbirdError, match="not those that training measured"):
        evaluation_of(store, run_id, digest)
    assert "a" * 64 not in "".join(name for path, name in texts(store, run_id).items() if "model" not in path)


def test_models_that_learned_from_an_erased_user_are_deleted_once_the_champion_did_not(
    published: Any, store: Store, tmp_path: Path
) -> None:
    here, keys = published.here, keys_of(published.here)
    gone = keys[person(published, 2)]
    run_id = trained(published, store, gone, keys[person(published, 3)], tmp_path / "run")
    ask(here, ERASE, [person(published, 2)], "ann", "asked by mail")
    with pytest.raises(TailorbirdError, match="MLflow does not answer"):
        erase_users(here)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.privacy.erase_users.Registry", lambda _: store)
        erase_users(here)
    assert forget_models(here, store) == (0, "")
    assert gone in texts(store, run_id)["model/arrays.npz"]
    old = Path(here.settings.var) / "verified" / f"digest {run_id}"
    old.mkdir(parents=True)
    build_dataset.fn(split_by(validation_days=20, test_days=20))
    newer = published._replace(manifest=stored_manifest(here))
    before = Path(published.promote(version=2))
    newer.promote("most_popular", version=3)
    assert forget_models(here, store) == (1, "")
    assert not old.exists()
    assert not [name for name, content in texts(store, run_id).items() if gone in content]
    with pytest.raises(VersionGoneError):
        store.version(1)
    assert store.newest_run("a key") is None, "the next training with the same settings is a new one"
    assert requests(here.engine)[0]["forgotten_at"] is not None
    assert forget_models(here, store) == (0, "")
    for path in before.iterdir():
        path.unlink()
    before.rmdir()
    with pytest.raises(TailorbirdError, match="had learned from users who were erased since"):
        roll_back_model.fn("ann", "worse lists")


def test_a_retraining_is_requested_when_the_champion_knew_an_erased_user_for_too_long(
    published: Any, store: Store
) -> None:
    here, days = published.here, load().retrain_after_erasure_days
    ask(here, ERASE, [person(published, 2)], "ann", "asked by mail")
    erase_users(here)
    with here.engine.begin() as connection:
        for table, column in (("users", "erased_at"), ("datasets", "created_at")):
            earlier = f"UPDATE {table} SET {column} = {column} - :time WHERE {column} IS NOT NULL"
            connection.execute(text(earlier), {"time": timedelta(days=days, minutes=1)})
    reason = forget_models(here, store).retraining
    assert "learned from users who were erased" in reason
    with here.engine.connect() as connection:
        assert open_request(connection).origin == "erasure"  # type: ignore[union-attr]  # it was just requested
    assert forget_models(here, store).retraining == "", "one request is open"
