"""A version of a model that waits in MLflow, and what somebody with write access there may do to it."""

import json
import math
import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import select

from infra.bundles import bundle as bundles
from infra.bundles.manifest import Origin
from infra.configuration.settings import load
from infra.database.schema.schema import promotions
from infra.installation import Installation
from infra.registry.client import MODEL_PATH, Registry
from infra.registry.connection import NAME
from infra.registry.mlmodel_files import mlflow_files
from infra.registry.verified_models import verified_version
from tasks.promotion.recorded_bundles import (
    EVALUATION_PATH,
    PER_USER,
    SUMMARY,
    TrainedBundle,
    evaluation_digest,
    record,
)


@dataclass(frozen=True)
class Shop:
    """Version `number` waits for a decision, and the signed bundle of another run is at hand."""

    here: Installation
    registry: Registry
    number: int
    run_id: str
    digest: str
    artifact: Path
    other: Path

    @property
    def address(self) -> str:
        return f"models:/{NAME}/{self.number}"

    def copied(self, to: Path | None = None, digest: str | None = None, model: str = "") -> Path:
        """The verified copy of the version, or of another `model`."""
        return verified_version(load(), self.registry, model or self.address, to, digest)

    def promoted(self) -> list[str]:
        with self.here.engine.connect() as connection:
            return list(connection.execute(select(promotions.c.kind)).scalars())


def trained(here: Installation, registry: Registry, folder: Path, model: Any, popular: Any) -> tuple[str, str]:
    """A run with its model in MLflow, recorded as training does."""
    run_id = registry.start_run(model.kind, "a key", {}, {"kind": model.kind})
    origin = Origin("v1", 7, run_id)
    digest = bundles.write(folder / MODEL_PATH, model, popular, origin, beside=mlflow_files(run_id))
    figures = measured(folder / EVALUATION_PATH, 0.25)
    registry.log_folder(run_id, folder)
    registry.finish_run(run_id)
    record(here.engine, TrainedBundle(run_id, "a key", model.kind, "v1", digest, figures))
    return run_id, digest


def measured(folder: Path, ndcg: float) -> str:
    """Write what training measures; returns its digest."""
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table({"user_key": ["u1"]}), folder / PER_USER)
    (folder / SUMMARY).write_text(json.dumps({"ndcg_at_10": ndcg, "score_ms": math.nan}))
    return evaluation_digest(folder)


class Bomb:
    """Leaves a file when it is unpickled, and answers like a model."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.write_text, (self.sentinel, "it ran"))


def pickled(shop: Shop, sentinel: Path) -> None:
    """`MLmodel` names the loader of MLflow that unpickles a file beside it."""
    (shop.artifact / "model.pkl").write_bytes(pickle.dumps(Bomb(sentinel)))
    text = (shop.artifact / "MLmodel").read_text()
    text = text.replace("loader_module: serving.pyfunc", "loader_module: mlflow.sklearn\n    model_path: model.pkl")
    (shop.artifact / "MLmodel").write_text(f"{text}\n")


def with_code(shop: Shop, sentinel: Path) -> None:
    """`MLmodel` names a folder of code, whose module loads the model."""
    (shop.artifact / "code").mkdir()
    (shop.artifact / "code" / "strange_loader.py").write_text(
        f"from pathlib import Path\nPath({str(sentinel)!r}).write_text('it ran')\n"
    )
    text = (shop.artifact / "MLmodel").read_text()
    (shop.artifact / "MLmodel").write_text(
        text.replace("loader_module: serving.pyfunc", "code: code\n    loader_module: strange_loader")
    )


def swapped(shop: Shop, _sentinel: Path) -> None:
    """Another run's bundle, with a sound signature of ours."""
    shutil.rmtree(shop.artifact)
    shutil.copytree(shop.other, shop.artifact)


def linked(shop: Shop, sentinel: Path) -> None:
    """A file is elsewhere, and a link leads to it."""
    arrays = shop.artifact / "arrays.npz"
    arrays.rename(sentinel.with_name("elsewhere.npz"))
    arrays.symlink_to(sentinel.with_name("elsewhere.npz"))


ATTACKS: dict[str, Callable[[Shop, Path], None]] = {
    "pickle": pickled,
    "code": with_code,
    "swap": swapped,
    "link": linked,
}
