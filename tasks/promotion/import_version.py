"""Imports a version that another installation exported, as a version with a review that a person decides."""

import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from math import nan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pa_dataset
import pyarrow.parquet as pq
from sqlalchemy import delete, insert, text

from infra.bundles.manifest import seal_again
from infra.bundles.promoted import verify_promoted
from infra.database.bulk_copy import copy_table
from infra.database.schema.ledger_schema import audit_log
from infra.database.schema.schema import datasets
from infra.installation import Installation
from infra.keys import credentials
from infra.keys.credentials import FOLDER, PSEUDONYM, present_fingerprint
from infra.locks import locked
from infra.private_files.folders import is_plain_name, open_regular, opened_folder, sha256
from infra.registry.client import MODEL_PATH, NOTE, Registry
from infra.registry.mlmodel_files import mlflow_files
from models.columns import USER_KEY
from models.errors import TailorbirdError
from models.evaluation.metrics.mlflow_names import BASELINE_GROUP, GATE
from models.gate.model_card import TO_DECIDE
from models.gate.results import Check, GateResult, GroupResult, Outcome, gate_result, stored_outcome
from models.primitives.json_types import JsonObject
from tasks.orchestration.guards import hold_pseudonym_key
from tasks.promotion.champion import current_champion, sync_aliases
from tasks.promotion.export_version import (
    DATASET,
    EXPORT,
    FORMAT,
    RUN,
    SEGMENT_TABLES,
    SEGMENTS,
    SIGNATURE,
    ExportedVersion,
    stored_dataset,
)
from tasks.promotion.mlflow_annotations import annotate_version
from tasks.promotion.recorded_bundles import (
    EVALUATION_PATH,
    SUMMARY,
    TrainedBundle,
    log_figures,
    record,
    recorded,
    register_version,
)
from tasks.promotion.review_requests import request, review_of

_GONE: Final = text("""
    SELECT count(*) FROM unnest(CAST(:keys AS text[])) AS known (key)
    WHERE EXISTS (SELECT FROM suppressions WHERE user_key = key) OR EXISTS (SELECT FROM users
        WHERE user_key = key AND erased_at IS NOT NULL AND (consent IS NOT TRUE OR erased_at >= :built))""")
_COMPARED: Final = "compared with the champion"


class ImportRefusedError(TailorbirdError):
    """An export that cannot be imported here."""


@hold_pseudonym_key
def import_version(installation: Installation, registry: Registry, source: Path, actor: str, reason: str) -> JsonObject:
    """Import an exported version; returns its number here. The same import twice gives the same version.

    Raises ImportRefusedError for an export that was changed, that no trusted installation signed, or that comes from
    here, and if its users have other pseudonyms, or some of them were erased here.
    """
    with locked(installation.engine, "import a version", wait=True), TemporaryDirectory() as scratch:
        folder = Path(scratch)
        exported = _verified(installation, source, folder)
        own = recorded(installation.engine, exported.trained.run_id)
        if own is not None and own.digest == exported.trained.digest:
            raise ImportRefusedError("The model was trained in this installation: `tailorbird review` compares it.")
        _check_users(installation, exported, folder)
        _store_dataset(installation, exported, folder)
        bundle = _stored_run(installation, registry, exported, folder)
    tags = {"dataset_version": bundle.dataset_version, "kind": bundle.kind, "imported_from": exported.installation}
    number = register_version(installation, registry, bundle, tags)
    with installation.engine.connect() as connection:
        champion = current_champion(connection)
    gate = _gate(exported, _first_digest(champion))
    against = champion["promotion_id"] if champion else 0
    request(installation, bundle.dataset_version, number, bundle, gate, against)
    if not registry.version(number).description:
        registry.describe(number, exported.description.partition(TO_DECIDE)[0])
    with installation.engine.begin() as connection:
        detail = {"installation": exported.installation, "version": exported.version, "digest": exported.trained.digest}
        entry = {"action": "import a model", "subject": f"version {number}", "actor": actor, "reason": reason}
        connection.execute(insert(audit_log).values(entry | {"detail": detail}))
    sync_aliases(installation.engine, registry)
    annotate_version(registry, review_of(installation, number))
    verdict = "passed" if gate.passed else "refused"
    return {"version": number, "kind": bundle.kind, "gate": verdict, "from": exported.installation}


def _verified(installation: Installation, source: Path, folder: Path) -> ExportedVersion:
    """Copy an export into a private folder, and verify the copy."""
    try:
        with opened_folder(source) as opened:
            content, signature = (open_regular(opened, name).read() for name in (EXPORT, SIGNATURE))
    except OSError:
        raise ImportRefusedError(
            f"{source} is no export: name a folder that `tailorbird model export` wrote, whole."
        ) from None
    try:
        credentials.verify(installation.settings, content, signature)
    except credentials.SignatureRefusedError as error:
        raise ImportRefusedError(f"{source / EXPORT} is {error}") from None
    stated = json.loads(content)
    if stated["format"] != FORMAT:
        raise ImportRefusedError(f"{source} was exported by another version of Tailorbird. Export it again.")
    exported = ExportedVersion.from_json(stated)
    for name, expected in exported.files.items():
        target = folder / name
        if not all(map(is_plain_name, name.split("/"))):
            raise ImportRefusedError(f"{source / EXPORT} names {name!r}, which is no file of the folder.")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with ExitStack() as stack:
                opened = stack.enter_context(opened_folder((source / name).parent))
                file = stack.enter_context(open_regular(opened, target.name))
                shutil.copyfileobj(file, stack.enter_context(target.open("xb")))
        except OSError:
            raise ImportRefusedError(f"{source / name} is missing or no regular file. Copy the export again.") from None
        if sha256(target) != expected:
            raise ImportRefusedError(f"{source / name} was changed since the export. Copy the export again.")
    return exported


def _check_users(installation: Installation, exported: ExportedVersion, folder: Path) -> None:
    """Raise ImportRefusedError unless the users have the same pseudonyms here and none of them was erased here."""
    assert installation.key  # compares the keys of this host
    if exported.pseudonym_key != present_fingerprint(installation.settings, PSEUDONYM):
        raise ImportRefusedError(
            "The model was trained with another pseudonym key, so it knows nobody here. Give the other installation "
            f"the file secrets/{PSEUDONYM} of {installation.settings.var / FOLDER} before it ingests, train there, and "
            "export again; or train here with the same settings: `tailorbird train`."
        )
    keys = [pq.read_table(folder / DATASET / name, columns=[USER_KEY]) for name in ("users", "interactions")]
    names = pc.unique(pa.concat_tables(keys)[USER_KEY])
    values = {"keys": names.to_pylist(), "built": datetime.fromisoformat(exported.dataset_created_at)}
    with installation.engine.connect() as connection:
        gone = connection.execute(_GONE, values).scalar_one()
    if gone:
        raise ImportRefusedError(
            f"{gone} of its users were erased or suppressed here. Erase them in the other installation too, train the "
            "model again there, and export that."
        )


def _store_dataset(installation: Installation, exported: ExportedVersion, folder: Path) -> None:
    """Store the data set with its segments, unless it is here. Raises ImportRefusedError for another of this name."""
    version = exported.dataset_version
    with installation.engine.connect() as connection:
        known = stored_dataset(connection, version)
    if known is not None:
        if known.manifest["content_hash"] != exported.manifest["content_hash"]:
            raise ImportRefusedError(f"Another data set is named {version} here. Train on it: `tailorbird train`.")
        return
    for name in exported.manifest["rows"]:
        rows = pa_dataset.dataset(folder / DATASET / name, format="parquet").scanner().to_reader()
        installation.lake.write_dataset(version, name, rows)
    row = {"version": version, "manifest": exported.manifest, "created_at": exported.dataset_created_at}
    with installation.engine.begin() as connection:
        for table in SEGMENT_TABLES:
            connection.execute(delete(table).where(table.c.dataset_version == version))
            copy_table(connection, table.name, pq.read_table(folder / SEGMENTS / table.name))
        connection.execute(insert(datasets).values(row))


def _stored_run(
    installation: Installation, registry: Registry, exported: ExportedVersion, folder: Path
) -> TrainedBundle:
    """Store the run with its artifacts in MLflow, once; the model is signed by this installation."""
    trained, key = exported.trained, f"imported-{exported.trained.digest}"
    earlier = registry.finished_run(key)
    known = recorded(installation.engine, earlier.run_id) if earlier else None
    if known is not None and known.run_key == key:
        return known
    own = {"kind": trained.kind, "dataset_version": trained.dataset_version, "stage": "import"}
    tags = own | {
        "imported_from": exported.installation,
        "imported_run": trained.run_id,
        NOTE: f"Version {exported.version} of the installation {exported.installation}, run {trained.run_id} there.",
    }
    with registry.active_run(exported.name, key, exported.parameters, tags) as run_id:
        digest = seal_again(folder / RUN / MODEL_PATH, run_id, mlflow_files(run_id))
        summary = json.loads((folder / RUN / EVALUATION_PATH / SUMMARY).read_text())
        log_figures(registry, run_id, trained.kind, trained.dataset_version, summary)
        registry.log(run_id, {n: v for n, v in exported.metrics.items() if n.startswith((BASELINE_GROUP, GATE))})
        registry.log_folder(run_id, folder / RUN)
        figures = trained.evaluation_digest
        bundle = TrainedBundle(run_id, key, trained.kind, trained.dataset_version, digest, figures)
        record(installation.engine, bundle)
    return bundle


def _first_digest(champion: Mapping[str, Any] | None) -> str | None:
    """Return the digest that the champion's bundle had where it was trained."""
    return verify_promoted(champion).first_digest if champion else None  # type: ignore[arg-type]


def _gate(exported: ExportedVersion, champion: str | None) -> GateResult:
    """Return the other installation's verdict, with a check whether it was about the champion here."""
    same = exported.champion == champion
    against = "the champion here" if champion else "no champion, and none answers here"
    against = against if same else "another champion than the one here" if exported.champion else "no champion"
    detail = f"Installation {exported.installation} measured it as version {exported.version}, against {against}."
    compared = Check(_COMPARED, nan, nan, Outcome.PASSED if same else Outcome.WARNING, detail)
    groups = [GroupResult(**_measured(row)) for row in exported.groups]
    return gate_result([compared, *(_check(row) for row in exported.gate)], groups)


def _check(row: JsonObject) -> Check:
    value, limit = (nan if row.get(name) is None else row[name] for name in ("value", "limit"))
    return Check(row["name"], value, limit, stored_outcome(row), row["detail"], row.get("low"), row.get("high"))


def _measured(row: JsonObject) -> dict[str, Any]:
    """Return a stored row with NaN for figures that could not be measured."""
    return {name: nan if value is None else value for name, value in row.items()}
