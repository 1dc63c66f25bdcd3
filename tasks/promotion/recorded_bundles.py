"""Records in Postgres what each training stored in MLflow; artifacts that differ from the record are refused."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import Engine, insert, select

from infra.database.schema.trust_schema import fingerprints, trained_bundles
from infra.keys.credentials import PSEUDONYM
from models.errors import TailorbirdError


@dataclass(frozen=True)
class TrainedBundle:
    """The recorded bundle and figures of one training run."""

    run_id: str
    run_key: str
    kind: str
    dataset_version: str
    digest: str
    """The digest of the bundle's manifest."""
    evaluation_digest: str


def record(engine: Engine, bundle: TrainedBundle) -> None:
    """Record a new training run."""
    with engine.begin() as connection:
        connection.execute(insert(trained_bundles).values(asdict(bundle)))


def recorded(engine: Engine, run_id: str) -> TrainedBundle | None:
    """Return the record of a run; None for runs of older versions and runs that Tailorbird did not start."""
    columns = [column for column in trained_bundles.c if column.name != "trained_at"]
    with engine.connect() as connection:
        row = connection.execute(select(*columns).where(trained_bundles.c.run_id == run_id)).mappings().first()
    return TrainedBundle(**row) if row else None


def recorded_all(engine: Engine, run_ids: Sequence[str]) -> dict[str, TrainedBundle]:
    """Return the records of these runs; raises TailorbirdError if one has none."""
    bundles = {run_id: recorded(engine, run_id) for run_id in run_ids}
    if missing := [run_id for run_id, bundle in bundles.items() if bundle is None]:
        raise TailorbirdError(
            f"No training here recorded the run {', '.join(missing)} of MLflow, so its figures and files cannot be "
            "trusted: run `tailorbird review` to train it again."
        )
    return {run_id: bundle for run_id, bundle in bundles.items() if bundle is not None}


def trained_kinds(engine: Engine, version: str) -> list[str]:
    """Return the kinds of model that were trained on a data set."""
    kind = trained_bundles.c.kind
    with engine.connect() as connection:
        query = select(kind).where(trained_bundles.c.dataset_version == version).distinct().order_by(kind)
        return [*connection.execute(query).scalars()]


def pseudonym_key_of(engine: Engine, run_id: str) -> str | None:
    """Return the fingerprint of the pseudonym key that was in use when a run was trained; None before the first."""
    key, trained = fingerprints.c, select(trained_bundles.c.trained_at).where(trained_bundles.c.run_id == run_id)
    in_use = (key.kind == PSEUDONYM, ~key.pending, key.since <= trained.scalar_subquery())
    newest = select(key.fingerprint).where(*in_use).order_by(key.generation.desc()).limit(1)
    with engine.connect() as connection:
        fingerprint: str | None = connection.execute(newest).scalar()
    return fingerprint
