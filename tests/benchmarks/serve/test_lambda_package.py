"""The package of a function has what answers import, with the versions of the lock."""

import re
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from benchmarks.serve.lambda_package import PACKAGES, ROOT, PackageError, build, pinned
from infra.bundles.manifest import BundleRefusedError
from tests.serving.api.startup.test_aws_lambda import PACKAGES as IMPORTED
from tests.serving.bundle_folders import write_bundle


def test_all_that_answers_import_is_in_the_package() -> None:
    installed = packages_distributions()
    for module in IMPORTED - {"opentelemetry"}:  # several distributions share that name
        assert {re.sub("_", "-", name.lower()) for name in installed[module]} & PACKAGES, module
    assert "opentelemetry-api" in PACKAGES


def test_the_packages_are_those_of_the_lock_with_their_hashes() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    parts = pinned(lock)
    named = re.findall(r"^([\w-]+)==", parts, re.MULTILINE)
    assert set(named) == PACKAGES
    assert parts.count("--hash=sha256:") >= len(named)
    with pytest.raises(PackageError, match=r"lacks mangum\. Run `make lock`"):
        pinned(re.sub(r"^mangum==", "other==", lock, flags=re.MULTILINE))


def test_an_altered_bundle_and_an_existing_folder_are_refused(tmp_path: Path, own_var: Path) -> None:
    write_bundle(tmp_path / "bundle", "most_popular")
    with pytest.raises(PackageError, match="exists"):
        build(tmp_path / "bundle", tmp_path)
    (tmp_path / "bundle" / "config.json").write_text("{}")
    with pytest.raises(BundleRefusedError):
        build(tmp_path / "bundle", tmp_path / "function")
    assert not (tmp_path / "function").exists()
    assert own_var.exists()
