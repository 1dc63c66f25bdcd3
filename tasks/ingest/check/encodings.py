"""Looks whether a file that is neither UTF-8 nor UTF-16 is read with the right letters."""

from collections.abc import Iterable
from pathlib import Path

from models.ingest.check.suspicions import Suspicion
from models.ingest.draft.mapping_text import toml
from models.ingest.text_files.encodings import NAMES
from models.ingest.text_files.likely_encodings import guessed, same
from tasks.sources import csv_reader
from tasks.sources.csv_reader import Csv


def doubtful_encoding(path: Path, csv: Csv) -> Iterable[Suspicion]:
    """Yield a guess when letters fit another encoding better, or when nobody stated the one that is used."""
    if not csv_reader.is_csv(path) or (used := csv_reader.encoding_of(path, csv)).startswith("utf"):
        return
    found = guessed(csv_reader.beginning(path))
    if found is None or (csv.encoding and found.read(used) == found.read(found.encoding)):
        return
    name = NAMES.get(used, used)
    says = f"The file is no UTF-8 and is read as {name}, for example the word {found.read(used)!r}."
    if same(used, found.encoding) or found.read(used) == found.read(found.encoding):
        yield Suspicion(
            "encoding_not_stated", f"{says} If that is right, state it:", f"encoding = {toml(name.lower())}"
        )
        return
    others = "".join(f"\n# or {toml(one)}: {found.read(one)}" for one in found.others if not same(one, used))
    says += f" As {found.encoding} it would be {found.read(found.encoding)!r}. If that is right, write:"
    yield Suspicion("encoding_may_be_another", says, f"encoding = {toml(found.encoding)}{others}")
