from pathlib import Path

import pytest

from infra.configuration.placements import configured, one
from infra.configuration.settings import Settings
from models.lists.rules.placement_config import PlacementError


def of(folder: Path, content: str | bytes) -> Settings:
    path = folder / "own.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Settings(placements=str(path))


def test_a_file_of_ones_own_takes_their_place(tmp_path: Path) -> None:
    assert list(configured(of(tmp_path, "[basket]\nk = 3\n"))) == ["basket"]


def test_a_file_in_ones_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of(tmp_path, "[basket]\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert list(configured(Settings(placements="~/own.toml"))) == ["basket"]


def test_a_file_that_is_not_there_or_cannot_be_read_is_reported_with_what_to_correct(tmp_path: Path) -> None:
    with pytest.raises(PlacementError, match=r"There is no file .*gone\.toml. Correct TAILORBIRD_PLACEMENTS"):
        configured(Settings(placements=str(tmp_path / "gone.toml")))
    with pytest.raises(PlacementError, match=r"own\.toml are not valid TOML: .*line 2"):
        configured(of(tmp_path, "[home]\nk = \n"))
    with pytest.raises(PlacementError, match=r"own\.toml are not valid TOML"):
        configured(of(tmp_path, b"[home]\nrules.cap = { brand = \xff }"))


def test_a_fault_is_named_by_its_place(tmp_path: Path) -> None:
    settings = of(tmp_path, "[home]\nk = 0\n[home.rules]\nboost = [{ brand = ['A'], by = -1 }]\nhide = { buy = 3 }\n")
    with pytest.raises(PlacementError) as error:
        configured(settings)
    for fault in ("home.k: ", "home.rules.boost.0.by: ", "home.rules.hide.buy: "):
        assert fault in str(error.value)


def test_a_misspelt_key_is_named_with_its_line_and_the_nearest_one(tmp_path: Path) -> None:
    settings = of(tmp_path, "[home]\nk = 9\n[home.rules]\ncapp = { brand = 2 }\n")
    with pytest.raises(PlacementError, match=r"own\.toml:4: home\.rules\.capp: .*the nearest is 'cap'") as refused:
        configured(settings)
    assert refused.value.__cause__ is None


def test_one_is_found_by_its_name_and_its_length_can_be_another(tmp_path: Path) -> None:
    settings = of(tmp_path, '[home]\nk = 9\nrules.pin = [{ item = "a", place = 5 }]\n[email]\n')
    assert one(settings, "home").k == 9
    assert one(settings, "home", 5).model_dump() == one(settings, "home").model_dump() | {"k": 5}
    with pytest.raises(PlacementError, match="There is no placement 'hom'; there are home, email"):
        one(settings, "hom")
    with pytest.raises(PlacementError, match=r"home\.rules\.pin\.0\.place"):
        one(settings, "home", 4)
    with pytest.raises(PlacementError, match=r"home\.k"):
        one(settings, "home", 0)
