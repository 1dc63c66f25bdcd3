"""The settings of the sequence model."""

from dataclasses import dataclass

from models.errors import TailorbirdError


@dataclass(frozen=True)
class Config:
    """Settings of SequenceModel; the defaults suit two cores and some thousand items."""

    network: str = "transformer"
    """`transformer` or `gru`."""
    dimensions: int = 64
    """Length of the vectors of items and histories."""
    blocks: int = 2
    """Layers of the network."""
    heads: int = 2
    """Attention heads of a layer of the transformer; they divide `dimensions`."""
    length: int = 50
    """Latest events of a user that the network reads."""
    time_gaps: bool = True
    """Whether the network reads the time from each event to the next one."""
    horizon_days: float = 28.0
    """Days whose purchases are predicted, as in lists for four weeks; 0: the next purchase, and the next basket."""
    repeats: bool = True
    """Whether scores of own items depend on when and how often the user bought them."""
    dropout: float = 0.2
    """Share of the values that training leaves out."""
    loss: str = "auto"
    """`softmax` over all items, `sampled` softmax, `gbce`; `auto`: softmax up to `full_items` items, else sampled."""
    full_items: int = 10_000
    """The largest catalogue for the full softmax."""
    negatives: int = 1_000
    """Wrong items per batch of the sampled losses."""
    negative_exponent: float = 0.5
    """The power of an item's events by which `sampled` draws wrong items; 0: all alike."""
    calibration: float = 0.75
    """How far `gbce` corrects the overconfidence that comes from sampling: 0 not at all, 1 fully."""
    learning_rate: float = 0.001
    """The step size of Adam."""
    averaged: bool = True
    """Whether weights are averages, mostly of the latest third of the steps, rather than those of the last step."""
    batch: int = 128
    """Histories per step; small data are split into at least 16 steps."""
    epochs: int = 100
    """Most passes over the data."""
    patience: int = 5
    """Passes without a better NDCG on the validation after which training ends."""
    validation_users: int = 4_000
    """Most users whose last purchases choose the best pass; at most a fifth of the users."""
    threads: int = 1
    """Threads of training. Another number gives a slightly different model."""

    def check(self) -> None:
        """Raise TailorbirdError, with the reason, for settings that contradict each other."""
        if self.network not in NETWORKS:
            raise TailorbirdError(f"sequence has no network {self.network!r}; choose one of: {', '.join(NETWORKS)}.")
        if self.loss not in LOSSES:
            raise TailorbirdError(f"sequence has no loss {self.loss!r}; choose one of: {', '.join(LOSSES)}.")
        if self.dimensions % self.heads:
            raise TailorbirdError(f"{self.heads} heads do not divide {self.dimensions} dimensions of sequence.")


NETWORKS = ("transformer", "gru")
LOSSES = ("auto", "softmax", "sampled", "gbce")
