"""Installations that are built once and copied for every test after the first."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import create_engine, insert, make_url, text

from infra import bundles
from infra.embedded import EmbeddedPostgres
from infra.installation import Installation
from infra.schema import promotions
from models import catalog
from models.most_popular import MostPopular
from models.recent_buyers import recent_buyers
from models.segment_popular import BY_TRAITS, SegmentPopular
from tasks.load_dataset import open_dataset


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
        bundles.write(draft, model, fallback, origin, segments, available=data.available, buyers=recent_buyers(data))
        bundle, digest = bundles.keep(draft, self.here.bundles)
        row = {"follows": version - 1, "model_version": version, "kind": kind, "metrics": {"ndcg_at_10": 0.5}}
        row |= {"dataset_version": self.manifest["version"], "bundle": str(bundle), "digest": digest}
        with self.here.engine.begin() as connection:
            connection.execute(insert(promotions).values(**row, actor="somebody", reason="a test"))
        return bundle


def staged(
    here: Installation, postgres: EmbeddedPostgres, kept: Path, name: str, build: Callable[[], object]
) -> Installation:
    """The installation as `build` leaves it: its database is kept under a name, and its files in a folder."""
    url = make_url(here.endpoints.database_url)
    admin = create_engine(postgres.url(), isolation_level="AUTOCOMMIT")
    if kept.exists():
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {url.database}"))
            connection.execute(text(f"CREATE DATABASE {url.database} TEMPLATE {name}"))
        shutil.copytree(kept, here.settings.var)
    else:
        build()
        here.engine.dispose()
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {url.database}"))
        shutil.copytree(here.settings.var, kept)
    admin.dispose()
    return here
