from pathlib import Path

import pytest

from models.errors import TailorbirdError
from models.shapes.mapping import MappingError
from tasks.sources.mappings import is_segment, read_mapping, shipped


@pytest.mark.parametrize("name", [name for name in shipped() if not is_segment(name)])
def test_every_mapping_of_tables_that_comes_with_tailorbird_can_be_read(name: str) -> None:
    mapping = read_mapping(name)
    assert mapping.name == name
    assert mapping.consent_note


def test_the_place_of_the_files_can_be_given(tmp_path: Path) -> None:
    assert read_mapping("complete_journey", str(tmp_path)).location == str(tmp_path)


def test_a_mapping_of_ones_own_is_given_by_its_path(tmp_path: Path) -> None:
    shipped_file = Path(read_mapping.__code__.co_filename).parent / "mappings" / "complete_journey.toml"
    path = tmp_path / "mine.toml"
    path.write_text(shipped_file.read_text())
    assert read_mapping(str(path)).name == "mine"


def test_an_unknown_name_is_told_with_the_known_ones() -> None:
    with pytest.raises(TailorbirdError, match=r"no mapping 'journey'.*complete_journey"):
        read_mapping("journey")


def test_a_file_that_is_no_toml_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("location = here")
    with pytest.raises(MappingError, match=r"mine.toml is not valid TOML: .*line 1"):
        read_mapping(str(path))
