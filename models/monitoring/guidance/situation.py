"""The state of an installation, as plain values, with the commands that repeat ingests and correct rows."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os.path import commonprefix
from posixpath import basename, dirname, join
from shlex import quote
from typing import Final, Literal

_FEW: Final = 3
"""Up to this many files are listed one by one."""
_OPTIONS: Final = {
    "consent": "--consent",
    "consent_note": "--consent-note",
    "from": "--from",
    "to": "--to",
    "project": "--project",
    "region": "--region",
}
"""Options of an ingest, by the mapping keys that they override."""
_SOURCE: Final = "name"
_ENDING: Final = re.compile(r"(\.[A-Za-z]+)+$")
_COUNTER: Final = "0123456789-_."
"""Characters that are cut from the end of a common prefix, because later files differ in them."""


@dataclass(frozen=True)
class CutShort:
    """Files of one source whose ingest was interrupted, with its options."""

    source: str
    mapping: str
    locations: tuple[str, ...]
    overrides: Mapping[str, str] = field(default_factory=dict)
    database: str = ""
    """The address of the database that the rows come from; empty for files."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Further options of an ingest from a database."""

    @property
    def situation(self) -> str:
        """Return the situation in a sentence."""
        unit = "table" if self.database else "file"
        files = f"1 {unit}" if len(self.locations) == 1 else f"{len(self.locations):,} {unit}s"
        return f"The ingest of {files} of {self.source} was cut short; nothing of {self.them} counts."

    @property
    def them(self) -> str:
        """Return the pronoun for its files."""
        return "it" if len(self.locations) == 1 else "them"

    @property
    def command(self) -> str:
        """Return the command that ingests the files again, with the same options."""
        names = self.overrides
        if self.database:
            stated = {"--mapping": self.mapping, "--url": self.database}
            stated |= {f"--{name}": word for name, word in self.options.items()}
            stated |= {option: names[key] for key, option in {_SOURCE: "--source", **_OPTIONS}.items() if key in names}
            return " ".join(["tailorbird ingest sql", *(f"{name} {quote(word)}" for name, word in stated.items())])
        arguments = [quote(self.mapping)]
        if _SOURCE in names:
            arguments = [quote(names[_SOURCE]), "--mapping", quote(self.mapping)]
        options = [part for key, option in _OPTIONS.items() if key in names for part in (option, quote(names[key]))]
        return " ".join(["tailorbird ingest", *arguments[:1], *map(quote, self._places), *arguments[1:], *options])

    @property
    def _places(self) -> tuple[str, ...]:
        """Return the files; for many files a pattern or their folder."""
        if len(self.locations) <= _FEW:
            return self.locations
        folders = {dirname(location) for location in self.locations}
        if len(folders) > 1:
            return (_beginning(self.locations).rpartition("/")[0] + "/",)
        names, [folder] = sorted(map(basename, self.locations)), folders
        begin = _beginning(names).rstrip(_COUNTER)
        ends = {match[0] if (match := _ENDING.search(name)) else "" for name in names}
        if len(ends) > 1 or set("*?[{") & set(folder + begin):
            return (folder,)
        return (join(folder, f"{begin}*{ends.pop()}"),)


@dataclass(frozen=True)
class Correction:
    """Quarantined rows of a batch whose ids belong to accepted rows with other values."""

    batch_id: str
    file: str
    rows: int
    earlier: tuple[str, ...] = ()
    """Batches of earlier versions of the file, the newest first."""

    @property
    def situation(self) -> str:
        """Return the situation in a sentence."""
        rows = "1 row" if self.rows == 1 else f"{self.rows:,} rows"
        accepted = "an accepted row with its id has" if self.rows == 1 else "accepted rows with their ids have"
        return f"{self.file}: {rows} did not come in, because {accepted} other values."

    @property
    def commands(self) -> tuple[str, ...]:
        """Return the commands that replace the earlier batches with the new file; empty without earlier ones."""
        if not self.earlier:
            return ()
        undo = f'tailorbird ledger undo {" ".join(self.earlier)} --reason "the file was corrected"'
        return undo, f"tailorbird quarantine replay {self.batch_id}"


@dataclass(frozen=True)
class LastReview:
    """The newest review of a model version."""

    version: int
    dataset: str
    passed: bool
    failed: tuple[str, ...] = ()
    """The failed checks of the gate."""
    decision: str | None = None
    """`approved`, `rejected`, or None without a decision."""
    reviewer: str = ""
    expired: bool = False
    """The review expired without a decision."""

    @property
    def verdict(self) -> str:
        """Return waiting, refused (by the gate), approved, expired, or rejected (by a person)."""
        if self.decision is None:
            return "waiting" if self.passed else "refused"
        if self.decision == "approved":
            return "approved"
        return "expired" if self.expired else "rejected"


@dataclass(frozen=True)
class EarlierChampion:
    """The model version that was champion before the present one."""

    version: int
    kind: str
    ndcg: float | None = None
    """NDCG@10 of its settings on the champion's test weeks; None if not measured."""
    champion_ndcg: float | None = None

    @property
    def sentence(self) -> str:
        """Return when to roll back, with the metrics of both."""
        measured = "Nobody measured both on the same test weeks."
        if self.ndcg is not None and self.champion_ndcg is not None:
            both = f"{self.ndcg:.4f}, and {self.champion_ndcg:.4f} for the champion"
            measured = f"NDCG@10 on the same test weeks: {both}."
        return (
            'Only if what the champion learned from it is harmful: `tailorbird rollback model --reason "harmful"` lets '
            f"version {self.version} ({self.kind}) answer until then. {measured}"
        )


@dataclass(frozen=True)
class Situation:
    """The state from the first batch to published lists."""

    cut_short: tuple[CutShort, ...] = ()
    """Interrupted ingests, by source."""
    batches: int = 0
    """Committed batches of any kind."""
    events: int = 0
    """Accepted events of these batches, without impressions: no model learns from them."""
    dataset: str | None = None
    """The newest data set."""
    new_events: int = 0
    """Events, without impressions, that were accepted after it was built."""
    trained: int = 0
    """Number of models trained on the data set."""
    searched: bool = False
    """Whether a search of settings on the data set has ended."""
    review: LastReview | None = None
    champion: int | None = None
    champion_dataset: str | None = None
    placements: tuple[str, ...] = ()
    """All configured placements."""
    without_lists: tuple[str, ...] = ()
    """Placements that have no lists."""
    stale: tuple[str, ...] = ()
    """Placements whose lists are older than they may be, or of another version than the champion."""
    undone_in_dataset: tuple[str, ...] = ()
    """Undone batches that the newest data set still contains."""
    undone_in_champion: tuple[str, ...] = ()
    """Undone batches that the champion learned from."""
    earlier: EarlierChampion | None = None
    """The champion that a rollback would restore; None without one, or if it also contains undone batches."""
    rolled_back: tuple[str, ...] = ()
    """Placements that were rolled back to earlier lists."""
    rolled_back_version: int | None = None
    """The newest promoted version, if a rollback replaced it with an earlier one."""
    rolled_back_overridden: bool = False
    """Whether that version was promoted against the gate."""
    review_mode: Literal["manual", "auto", "never"] = "manual"
    dataset_days: float = 0
    """Age of the newest data set in days."""
    retrain_after_share: float = 0.05
    """Share of new events among all events from which a retrain is due."""
    retrain_after_days: float = 14
    """Days after which any new event makes a retrain due."""
    next_retrain: str = ""
    """When the next planned retrain begins; empty if none is planned."""

    @property
    def verdict(self) -> str:
        """Return the verdict of the newest review; empty without one."""
        return self.review.verdict if self.review else ""

    @property
    def retrain_due(self) -> bool:
        """Whether the new events are enough, or old enough, for a retrain."""
        enough = self.new_events >= self.retrain_after_share * self.events
        return self.new_events > 0 and (enough or self.dataset_days >= self.retrain_after_days)


def _beginning(names: Sequence[str]) -> str:
    return commonprefix(names)  # noqa: RUF071, up to the character in which names differ
