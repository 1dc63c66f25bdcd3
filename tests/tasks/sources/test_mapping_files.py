from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.errors import TailorbirdError
from models.ingest.segment.segment_mapping import SegmentMapping
from models.ingest.tabular.table_mapping import MappingError
from tasks.sources import mapping_files
from tasks.sources.mapping_files import mapping_overrides, read, shipped

SHIPPED = Path(mapping_files.__file__).parent / "mappings"


@pytest.mark.parametrize("name", shipped())
def test_every_mapping_that_comes_with_tailorbird_can_be_read(name: str) -> None:
    mapping = read(name)
    assert mapping.name == name
    assert mapping.consent_note
    assert isinstance(mapping, SegmentMapping) == (name == "segment")


def test_overrides_replace_the_keys_of_the_file() -> None:
    mapping = read(
        "complete_journey", mapping_overrides("shop", "opt-out", "our terms", "2024-01-01", "2024-02-01T12:00:00+01:00")
    )
    assert (mapping.name, mapping.consent, mapping.consent_note) == ("shop", "opt-out", "our terms")
    assert mapping.start == datetime(2024, 1, 1, tzinfo=UTC)
    assert mapping.end == datetime(2024, 2, 1, 11, tzinfo=UTC)
    assert read("complete_journey", mapping_overrides()) == read("complete_journey")


def test_another_consent_does_not_keep_the_note_of_the_first() -> None:
    values = read("complete_journey").consent_note
    assert values not in read("complete_journey", mapping_overrides(consent="opt-in")).consent_note
    with pytest.raises(MappingError, match="consent_note"):
        read("complete_journey", mapping_overrides(consent="given"))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (mapping_overrides(consent="yes"), "consent: .*'given', 'opt-in' or 'opt-out'"),
        (mapping_overrides(begin="yesterday"), "from: 'yesterday' is no time; write 2026-03-01"),
        (mapping_overrides(begin="2024-02-01", end="2024-01-01"), "has to come before"),
    ],
)
def test_an_invalid_override_is_reported(choice: dict[str, str], message: str) -> None:
    with pytest.raises(MappingError, match=message):
        read("segment", choice)


def test_misspelt_and_missing_keys_are_named_with_their_lines_and_the_nearest_key(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    events = 'file = "o.csv"\nuser_id = "u"\ntime_formatt = "%d.%m.%Y"\nconstants = { event_type = "view" }\n'
    path.write_text(f'consent = "opt-in"\n\n[events]\n{events}occurred_at = "t"\n')
    with pytest.raises(MappingError) as refused:
        read(str(path))
    faults = str(refused.value)
    assert "mine.toml:6: events.time_formatt: there is no such key; the nearest is 'time_format'" in faults
    assert "mine.toml:3: events.item_id: it is missing; add it" in faults
    assert refused.value.__cause__ is None  # a cause makes the command line name a log with a traceback


def test_a_name_whose_file_lies_in_the_folder_is_named_as_a_guess(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sklep.toml").touch()
    with pytest.raises(
        TailorbirdError, match=r"There is no mapping 'sklep'\. Did you mean sklep\.toml\? Give the path"
    ):
        read("sklep")
    with pytest.raises(TailorbirdError, match=r"There is no mapping 'shop'\. Give the path"):
        read("shop")


def test_a_file_that_is_no_toml_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("location = here")
    with pytest.raises(MappingError, match=r"mine.toml is not valid TOML: .*line 1"):
        read(str(path))
