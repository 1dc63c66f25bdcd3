"""Checks the encoding of files that are neither UTF-8 nor UTF-16."""

from collections.abc import Iterable
from pathlib import Path

from models.ingest.check.suspicions import Suspicion
from models.ingest.draft.mapping_text import toml
from models.ingest.text_files.encodings import NAMES
from models.ingest.text_files.likely_encodings import guessed, same
from tasks.sources import csv_reader
from tasks.sources.csv_reader import Csv


def doubtful_encoding(path: Path, csv: Csv) -> Iterable[Suspicion]:
    """Yield a suspicion if another encoding fits better, or if the mapping does not state the used one."""
    if not csv_reader.is_csv(path) or (used := csv_reader.encoding_of(path, csv)).startswith("utf"):
        return
    guess = guessed(csv_reader.beginning(path))
    if guess is None or (csv.encoding and guess.read(used) == guess.read(guess.encoding)):
        return
    name = NAMES.get(used, used)
    sentence = f"The file is no UTF-8 and is read as {name}, for example the word {guess.read(used)!r}."
    if same(used, guess.encoding) or guess.read(used) == guess.read(guess.encoding):
        yield Suspicion(
            "encoding_not_stated", f"{sentence} If that is right, state it:", f"encoding = {toml(name.lower())}"
        )
        return
    others = "".join(f"\n# or {toml(one)}: {guess.read(one)}" for one in guess.others if not same(one, used))
    sentence += f" As {guess.encoding} it would be {guess.read(guess.encoding)!r}. If that is right, write:"
    yield Suspicion("encoding_may_be_another", sentence, f"encoding = {toml(guess.encoding)}{others}")
