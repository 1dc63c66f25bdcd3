"""What a server loads once for all of its workers."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from infra.installation import Installation
from serving.api.startup.loaded_once import Shared, load_once
from tests.serving.bundle_folders import offer, promote, write_bundle


def loaded(installation: Installation) -> Shared:
    """Load in a thread, whose libraries keep one processor."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(load_once, installation.settings).result()


def test_everything_is_built_from_one_champion_and_one_catalogue(installation: Installation, tmp_path: Path) -> None:
    assert loaded(installation).model is None
    digest = write_bundle(tmp_path / "first")
    names = offer(installation.engine, tmp_path / "first", digest)
    promote(installation.engine, tmp_path / "first", digest, 1)
    before = threading.active_count()
    shared = loaded(installation)
    assert threading.active_count() == before, "a process with threads cannot be forked"
    assert shared.model is not None
    assert shared.catalogue is not None
    assert shared.aligned is not None
    assert shared.best is not None
    assert shared.titles is not None
    catalogue = shared.catalogue.catalogue
    assert shared.titles.titles.names == names
    assert (shared.titles.digest, shared.titles.titles.generation) == (digest, catalogue.generation)
    assert shared.aligned.made_from == (digest, catalogue.generation)
    assert (shared.best.model, shared.best.catalogue) == (shared.model, catalogue)
    assert set(shared.best.placements) >= {"home"}
