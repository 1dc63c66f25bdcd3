"""Guides the correction of rows whose ids were accepted with other values."""

from dataclasses import dataclass


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
