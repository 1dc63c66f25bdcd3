"""The shop taken all the way to a champion, without Prefect's or MLflow's servers."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import create_engine, insert, make_url, text

from infra import bundles
from infra.installation import Installation
from infra.schema import promotions
from models import catalog
from models.most_popular import MostPopular
from models.segment_popular import BY_TRAITS, SegmentPopular
from tasks.build_dataset import build_dataset, split_by
from tasks.ingest_events import ingest_events
from tasks.ingest_items import ingest_items
from tasks.ingest_users import ingest_users
from tasks.load_dataset import open_dataset, stored_manifest


class Stage(NamedTuple):
    """An installation whose shop was ingested and has a data set."""

    here: Installation
    shop: Any
    manifest: dict[str, Any]

    def promote(self, kind: str = "own_frequency", version: int = 1) -> Path:
        """Make a model of this data set the champion, as `decide` would; returns its bundle."""
        data = open_dataset(self.manifest["version"]).training_data(self.manifest["as_of"])
        model = catalog.model_type(kind).fit(data, catalog.config(kind), 7)
        fallback = MostPopular.fit(data, MostPopular.config_type(), 7).popularity
        draft = self.here.settings.var / f"draft-{version}"
        segments = SegmentPopular.fit(data, BY_TRAITS, 7)
        origin = bundles.Origin(self.manifest["version"], 7, f"run-{version}")
        bundles.write(draft, model, fallback, origin, segments, available=data.available)
        bundle, digest = bundles.keep(draft, self.here.bundles)
        row = {"follows": version - 1, "model_version": version, "kind": kind, "metrics": {"ndcg_at_10": 0.5}}
        row |= {"dataset_version": self.manifest["version"], "bundle": str(bundle), "digest": digest}
        with self.here.engine.begin() as connection:
            connection.execute(insert(promotions).values(**row, actor="somebody", reason="a test"))
        return bundle


_STAGED = "staged"


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first stage of a session leaves its files for the others."""
    return tmp_path_factory.mktemp("staged") / "var"


@pytest.fixture
def stage(installation: Installation, shop: Any, postgres: Any, kept: Path) -> Stage:
    """Built once a session, and copied for every test after the first."""
    url = make_url(installation.endpoints.database_url)
    admin = create_engine(postgres.url(), isolation_level="AUTOCOMMIT")
    if kept.exists():
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {url.database}"))
            connection.execute(text(f"CREATE DATABASE {url.database} TEMPLATE {_STAGED}"))
        shutil.copytree(kept, installation.settings.var)
    else:
        ingest_items.fn("complete_journey", shop.items_file)
        ingest_users.fn("complete_journey", shop.users_file)
        ingest_events.fn("complete_journey", shop.events_file)
        build_dataset.fn(split_by(validation_days=30, test_days=31))
        installation.engine.dispose()
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {_STAGED} TEMPLATE {url.database}"))
        shutil.copytree(installation.settings.var, kept)
    admin.dispose()
    manifest = stored_manifest(installation)
    assert manifest is not None
    return Stage(installation, shop, manifest)
