"""Only bundles are held to the rights of their folder; everything else is refused as what it is."""

from pathlib import Path

import pytest

from infra.bundles.manifest import BundleRefusedError
from infra.registry.verified_models import verified_folder


def test_a_path_that_is_no_bundle_is_refused_without_advice_about_its_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for place in (Path("/dev/null"), tmp_path, tmp_path / "gone"):
        with pytest.raises(BundleRefusedError) as refusal:
            verified_folder(place)
        assert "chmod" not in str(refusal.value)
