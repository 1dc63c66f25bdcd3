"""The networks in PyTorch: a transformer with pre-norm and causal attention, and a GRU."""

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.recommenders.sequence.histories import GAPS, KINDS
from models.recommenders.sequence.network_settings import Config

_SPREAD: Final = 0.02
"""The standard deviation of vectors at the start."""


class ItemVectors(nn.Module):
    """One vector per item: the sum of its own and those of its tags."""

    def __init__(self, n_items: int, tags: Tensor, n_tags: int, dimensions: int) -> None:
        """Take the positions of each item's tags [n_items, most]; `n_tags` fills up shorter rows."""
        super().__init__()
        self.own = nn.Embedding(n_items, dimensions)
        self.of_tags = nn.Embedding(n_tags + 1, dimensions, padding_idx=n_tags)
        self.register_buffer("tags", tags, persistent=False)
        for table in (self.own, self.of_tags):
            nn.init.normal_(table.weight, std=_SPREAD)
        with torch.no_grad():
            self.of_tags.weight[n_tags] = 0

    def forward(self, items: Tensor) -> Tensor:
        """Return [..., d] the vectors of items."""
        vectors: Tensor = self.own(items)
        return vectors + self.of_tags(self.tags[items]).sum(dim=-2) if self.tags.shape[1] else vectors

    def all(self) -> Tensor:
        """Return [n_items, d]."""
        return self.own.weight + self.of_tags(self.tags).sum(dim=-2) if self.tags.shape[1] else self.own.weight


class Block(nn.Module):
    """A layer of the transformer: attention to earlier events, then two dense layers, each beside a shortcut."""

    def __init__(self, config: Config) -> None:
        """Make a layer."""
        super().__init__()
        width = config.dimensions
        self.heads, self.dropout = config.heads, config.dropout
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.projected, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return [m, length, d]."""
        m, length, width = hidden.shape
        parts = self.projected(self.before(hidden)).view(m, length, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self._dropped(self.joined(attended.transpose(1, 2).reshape(m, length, width)))
        return hidden + self._dropped(self.narrow(functional.relu(self.wide(self.between(hidden)))))

    def _dropped(self, values: Tensor) -> Tensor:
        return functional.dropout(values, self.dropout, self.training)


class Network(nn.Module):
    """Turns the vectors of events into one vector after each event, which predicts the next purchase."""

    def __init__(self, config: Config, with_kinds: bool = False) -> None:
        """Make a network at its start; without kinds all events are purchases."""
        super().__init__()
        width = config.dimensions
        self.is_transformer, self.dropout = config.network == "transformer", config.dropout
        self.longer, self.positions = nn.Embedding(GAPS, width), nn.Embedding(config.length, width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks if self.is_transformer else 0))
        self.gru = None if self.is_transformer else nn.GRU(width, width, config.blocks, batch_first=True)
        self.after = nn.LayerNorm(width)
        for table in (self.longer, self.positions):
            nn.init.normal_(table.weight, std=_SPREAD)
        self.kinds = nn.Embedding(len(KINDS), width) if with_kinds else None
        if self.kinds is not None:
            nn.init.normal_(self.kinds.weight, std=_SPREAD)

    def gaps(self) -> Tensor:
        """Return [GAPS, d] the vectors of the classes of times: each differs from the one before by what it learned.

        So a time that is longer than all in the data counts as the longest of them.
        """
        return self.longer.weight.cumsum(dim=0)

    def forward(self, events: Tensor, gaps: Tensor, kinds: Tensor) -> Tensor:
        """Return [m, length, d] from the vectors of events, the classes of times to the next ones, and the kinds."""
        hidden = events * events.shape[-1] ** 0.5 + functional.embedding(gaps, self.gaps())
        if self.kinds is not None:
            hidden = hidden + self.kinds(kinds)
        if self.is_transformer:
            hidden = hidden + self.positions.weight[: events.shape[1]]
        hidden = functional.dropout(hidden, self.dropout, self.training)
        for block in self.blocks:
            hidden = block(hidden)
        if self.gru is not None:
            hidden = self.gru(hidden)[0]
        encoded: Tensor = self.after(hidden)
        return encoded


class Learner(nn.Module):
    """Everything that is trained."""

    def __init__(self, vectors: ItemVectors, network: Network) -> None:
        """Join both."""
        super().__init__()
        self.vectors, self.network = vectors, network

    def forward(self, items: Tensor, gaps: Tensor, kinds: Tensor) -> Tensor:
        """Return [m, length, d] from the items of histories."""
        encoded: Tensor = self.network(self.vectors(items), gaps, kinds)
        return encoded
