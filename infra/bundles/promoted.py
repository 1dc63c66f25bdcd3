"""Opens the stored bundle of a row of `promotions`, after verifying that it is the model that the row names."""

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, text

from infra.bundles.arrays import OtherKeyError
from infra.bundles.bundle import Bundle, load
from infra.bundles.bundle_store import local_copy
from infra.bundles.manifest import BundleRefusedError, Manifest, verify
from infra.configuration.settings import load as load_settings
from infra.database.schema.promotion_rows import Promotion
from infra.keys.credentials import FOLDER, PSEUDONYM, find_secret, variable
from infra.keys.trust import newest, rows

_ERASED: Final = text("""
    SELECT encode(sha256(convert_to(user_key, 'UTF8')), 'hex') FROM users WHERE erased_at >= coalesce(
        (SELECT created_at FROM datasets WHERE version = :version), '-infinity')""")


def erased_since(connection: Connection, dataset_version: str) -> frozenset[str]:
    """Return the marks of the users who were erased since a data set was built: its models learned from them."""
    return frozenset(connection.execute(_ERASED, {"version": dataset_version}).scalars())


def copied(promotion: Promotion) -> Path:
    """Return the folder of a promotion's bundle on this machine. Raises BundleRefusedError and BundleStoreError."""
    return local_copy(load_settings(), promotion["bundle"], promotion["digest"])


def load_promoted(promotion: Promotion, erased: frozenset[str]) -> Bundle:
    """Verify and open a promotion's bundle, without the users of `erased_since`. Raises BundleRefusedError."""
    bundle = load(copied(promotion), promotion["digest"], erased)
    _check(promotion, bundle.manifest)
    return bundle


def load_for_users(engine: Engine, promotion: Promotion) -> Bundle:
    """Open a promotion's bundle to look up single users. Raises OtherKeyError when this host cannot name its users.

    This happens on hosts without the pseudonym key if the key was rotated after the model's training.
    """
    with engine.connect() as connection:
        erased = erased_since(connection, promotion["dataset_version"])
    bundle = load_promoted(promotion, erased)
    if find_secret(load_settings(), PSEUDONYM) is None:
        with engine.connect() as connection:
            current = newest(rows(connection)).get(PSEUDONYM)
        trained_with = bundle.manifest.pseudonym_key
        if current and current.fingerprint != (trained_with or current.fingerprint):
            raise OtherKeyError(
                f"The champion was trained before the {PSEUDONYM} was rotated, and this host has no key to identify "
                f"its users. Copy the file secrets/{PSEUDONYM} of the installation's var folder to "
                f"{load_settings().var / FOLDER}, or set {variable(PSEUDONYM)}. Models that are trained from now on "
                "need no key."
            )
    return bundle


def verify_promoted(promotion: Promotion) -> Manifest:
    """Verify all of a promotion's bundle and return its manifest. Raises BundleRefusedError."""
    manifest = verify(copied(promotion), promotion["digest"])
    _check(promotion, manifest)
    return manifest


def _check(promotion: Promotion, manifest: Manifest) -> None:
    """Compare kind and run of a bundle with its promotion; rows of older versions have no run."""
    kind, run_id = promotion["kind"], promotion["run_id"] or manifest.run_id
    if (manifest.kind, manifest.run_id) != (kind, run_id):
        raise BundleRefusedError(
            f"The promotion of version {promotion['model_version']} names {kind} of run {run_id}, but its bundle is "
            f"{manifest.kind} of run {manifest.run_id}. Review and promote another version, or go back with "
            '`tailorbird rollback model --reason "another bundle"`.'
        )
