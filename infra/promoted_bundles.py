"""Opens the kept bundle of a row of `promotions`: exactly the model that the row names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.bundles import Bundle, load
from infra.manifests import BundleRefusedError, verify


def load_promoted(promotion: Mapping[str, Any]) -> Bundle:
    """Verify and open a promotion's bundle. Raises BundleRefusedError."""
    bundle = load(Path(promotion["bundle"]), promotion["digest"])
    _check(promotion, bundle.manifest)
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
