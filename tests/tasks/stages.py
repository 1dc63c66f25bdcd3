"""Installations that are built once and copied for every test after the first."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import func, insert, make_url, select

from infra.bundles import bundle as bundles
from infra.bundles.manifest import Origin
from infra.database.schema.schema import promotions, reviews
from infra.installation import Installation
from infra.registry.client import MODEL_PATH, Registry
from infra.services.embedded_postgres import EmbeddedPostgres
from models import catalog
from models.recommenders.baselines.most_popular import MostPopular
from models.recommenders.baselines.segment_popular import BY_TRAITS, SegmentPopular
from models.recommenders.explanations.sentences import recent_buyers
from tasks.datasets.load_dataset import open_dataset
from tests.conftest import STAGES, copy_database


class Stage(NamedTuple):
    """An installation whose shop was ingested and has a data set."""

    here: Installation
    shop: Any
    manifest: dict[str, Any]

    def promote(self, kind: str = "own_frequency", version: int = 1, settings: Mapping[str, Any] | None = None) -> Path:
        """Make a model of this data set the champion, as `decide` would; returns its bundle."""
        data = open_dataset(self.manifest["version"]).training_data(self.manifest["as_of"])
        model = catalog.model_type(kind).fit(data, catalog.config(kind, settings), 7)
        fallback = MostPopular.fit(data, MostPopular.config_type(), 7).popularity
        draft = self.here.settings.var / f"draft-{version}"
        segments = SegmentPopular.fit(data, BY_TRAITS, 7)
        origin = Origin(self.manifest["version"], 7, f"run-{version}")
        bundles.write(draft, model, fallback, origin, segments, available=data.available, buyers=recent_buyers(data))
        bundle, digest = bundles.store_bundle(draft, self.here.bundles)
        row = {
            "previous_promotion_id": version - 1,
            "model_version": version,
            "kind": kind,
            "metrics": {"ndcg_at_10": 0.5},
        }
        row |= {"dataset_version": self.manifest["version"], "bundle": str(bundle), "digest": digest}
        with self.here.engine.begin() as connection:
            connection.execute(insert(promotions).values(**row, actor="somebody", reason="a test"))
        return bundle

    def ask(self, registry: Registry, folder: Path, kind: str = "own_frequency", passed: bool = True) -> int:
        """Register a model and ask for a decision about it, as `review` would; returns its version."""
        run_id = registry.start_run(kind, f"a key of {folder}", {}, {"kind": kind})
        data = open_dataset(self.manifest["version"]).training_data(self.manifest["as_of"])
        model = catalog.model_type(kind).fit(data, catalog.config(kind), 7)
        scores = model.scores(data.user[:1])[0]
        digest = bundles.write(folder / "draft" / MODEL_PATH, model, scores, Origin("v1", 7, run_id))
        registry.log_folder(run_id, folder / "draft")
        registry.finish_run(run_id)
        version = registry.register(run_id, {})
        gate = [{"name": "is tall", "outcome": "passed" if passed else "refused", "detail": "1 m."}]
        row = {"dataset_version": self.manifest["version"], "model_version": version, "passed": passed, "gate": gate}
        newest = select(func.coalesce(func.max(promotions.c.promotion_id), 0))
        with self.here.engine.begin() as connection:
            against = connection.execute(newest).scalar_one()
            connection.execute(
                insert(reviews).values(row | {"run_id": run_id, "digest": digest, "reference_promotion_id": against})
            )
        return version


def staged(
    here: Installation, postgres: EmbeddedPostgres, kept: Path, fixture: str, build: Callable[[], object]
) -> Installation:
    """Return the installation as `build` leaves it: its database is kept under the name of the fixture, its files in a
    folder."""
    if fixture in STAGES:  # the fixture `database` has copied it
        shutil.copytree(kept / fixture, here.settings.var)
        return here
    build()
    here.engine.dispose()
    copy_database(postgres, fixture, str(make_url(here.endpoints.database_url).database))
    shutil.copytree(here.settings.var, kept / fixture)
    STAGES.add(fixture)
    return here
