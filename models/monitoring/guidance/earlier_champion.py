"""The earlier champion that a rollback would restore, compared with the present one."""

from dataclasses import dataclass


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
            "Only if what the champion learned from it is harmful: `tailorbird rollback model` lets "
            f"version {self.version} ({self.kind}) answer until then. {measured}"
        )
