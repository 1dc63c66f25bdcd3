"""Opens the kept bundle of a row of `promotions`: exactly the model that the row names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from infra.bundles.bundle import Bundle, load
from infra.bundles.manifest import BundleRefusedError, verify
from infra.configuration.settings import load as load_settings
from infra.keys.credentials import FOLDER, find_secret, variable
from infra.keys.fingerprints import PSEUDONYM, newest, rows
from infra.keys.renamed_users import OtherKeyError


def load_promoted(promotion: Mapping[str, Any]) -> Bundle:
    """Verify and open a promotion's bundle. Raises BundleRefusedError."""
    bundle = load(Path(promotion["bundle"]), promotion["digest"])
    _check(promotion, bundle.manifest)
    return bundle


def load_for_users(engine: Engine, promotion: Mapping[str, Any]) -> Bundle:
    """Open a promotion's bundle for questions about single users; raises OtherKeyError where it knows none of them.

    That is so on hosts without the pseudonym key, once it was rotated after the model had learned.
    """
    bundle = load_promoted(promotion)
    if find_secret(load_settings(), PSEUDONYM) is None:
        with engine.connect() as connection:
            current = newest(rows(connection)).get(PSEUDONYM)
        named_by = bundle.manifest.get("pseudonym_key")
        if current and current.fingerprint != (named_by or current.fingerprint):
            raise OtherKeyError(
                f"The champion has learned before the {PSEUDONYM} was rotated, and this host has no key to tell its "
                f"users by. Copy the file secrets/{PSEUDONYM} of the installation's var folder to "
                f"{load_settings().var / FOLDER}, or set {variable(PSEUDONYM)}. Models that are trained from now on "
                "need no key."
            )
    return bundle


def verify_promoted(promotion: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest of a promotion's bundle after all of it was verified. Raises BundleRefusedError."""
    manifest = verify(Path(promotion["bundle"]), promotion["digest"])
    _check(promotion, manifest)
    return manifest


def _check(promotion: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Rows of older versions have no run."""
    expected = {"kind": promotion["kind"], "run_id": promotion["run_id"] or manifest["run_id"]}
    found = {name: manifest[name] for name in expected}
    if found != expected:
        raise BundleRefusedError(
            f"The promotion of version {promotion['model_version']} names {_words(expected)}, but its bundle is "
            f"{_words(found)}. Go back with `tailorbird rollback model`, or review and promote another version."
        )


def _words(model: Mapping[str, str]) -> str:
    return f"{model['kind']} of run {model['run_id']}"
