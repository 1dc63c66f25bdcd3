"""The networks in PyTorch: a transformer with pre-norm and causal attention, and a GRU."""

from typing import Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
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
        return self.after(hidden)


class Learner(nn.Module):
    """Everything that is trained."""

    def __init__(self, vectors: ItemVectors, network: Network) -> None:
        """Join both."""
        super().__init__()
        self.vectors, self.network = vectors, network

    def forward(self, items: Tensor, gaps: Tensor, kinds: Tensor) -> Tensor:
        """Return [m, length, d] from the items of histories."""
        return self.network(self.vectors(items), gaps, kinds)


_OPSET: Final = 18
_FORMAT: Final = 10
"""The version of the file format, which ONNX Runtime reads since 1.18."""


def exported(network: Network, config: Config) -> bytes:
    """Return the bytes of a graph with the inputs and the output of `encoder`."""
    graph = _Graph()
    scaled = graph.node("Mul", "events", graph.constant(np.float32(config.dimensions**0.5)))
    hidden = graph.node("Add", scaled, graph.node("Gather", graph.weight(network.gaps()), "gaps"))
    if network.kinds is not None:
        hidden = graph.node("Add", hidden, graph.node("Gather", graph.weight(network.kinds.weight), "kinds"))
    if network.is_transformer:
        places = graph.node("Gather", graph.weight(network.positions.weight), "positions")
        hidden = graph.node("Add", hidden, places)
    for block in network.blocks:
        assert isinstance(block, Block)
        hidden = _block(graph, hidden, block)
    if network.gru is not None:
        hidden = _gru(graph, hidden, network.gru)
    graph.node("GatherND", _norm(graph, hidden, network.after), "last", output="encoded")
    names = ["events", "gaps", *(("positions", "mask") if network.is_transformer else ()), "last"]
    names += ["kinds"] if network.kinds is not None else []
    return graph.file([_input(name, config.dimensions) for name in names], config.dimensions)


class _Graph:
    """Nodes and constants, which are named by their numbers."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, values: NDArray[np.generic] | np.generic) -> str:
        """Add a constant; return its name."""
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def weight(self, values: Tensor) -> str:
        """Add a weight; return its name."""
        return self.constant(values.detach().numpy())

    def node(self, operator: str, *inputs: str, output: str = "", **attributes: object) -> str:
        """Add a step with one output; return the output's name."""
        return self.nodes(operator, *inputs, outputs=[output or f"n{len(self._nodes)}"], **attributes)[0]

    def nodes(self, operator: str, *inputs: str, outputs: list[str], **attributes: object) -> list[str]:
        """Add a step; return the names of its outputs."""
        self._nodes.append(helper.make_node(operator, inputs, outputs, **attributes))
        return outputs

    def file(self, inputs: list[onnx.ValueInfoProto], width: int) -> bytes:
        """Return the bytes of the checked file, without a name of a tool or a place."""
        output = helper.make_tensor_value_info("encoded", TensorProto.FLOAT, ["m", width])
        graph = helper.make_graph(self._nodes, "encoder", inputs, [output], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_FORMAT)
        onnx.checker.check_model(model)
        content: bytes = model.SerializeToString(deterministic=True)
        return content


def _input(name: str, width: int) -> onnx.ValueInfoProto:
    shapes = {
        "events": ["m", "length", width],
        "gaps": ["m", "length"],
        "kinds": ["m", "length"],
        "positions": ["length"],
        "mask": ["length", "length"],
        "last": ["m", 2],
    }
    kind = TensorProto.FLOAT if name in {"events", "mask"} else TensorProto.INT64
    return helper.make_tensor_value_info(name, kind, shapes[name])


def _block(graph: _Graph, hidden: str, block: Block) -> str:
    width = block.joined.in_features
    parts = _dense(graph, _norm(graph, hidden, block.before), block.projected)
    parts = graph.node("Reshape", parts, graph.constant(np.array([0, 0, 3, block.heads, width // block.heads])))
    parts = graph.node("Transpose", parts, perm=[2, 0, 3, 1, 4])
    query, key, value = (graph.node("Gather", parts, graph.constant(np.int64(part)), axis=0) for part in range(3))
    products = graph.node("MatMul", query, graph.node("Transpose", key, perm=[0, 1, 3, 2]))
    scaled = graph.node("Mul", products, graph.constant(np.float32((width // block.heads) ** -0.5)))
    share = graph.node("Softmax", graph.node("Add", scaled, "mask"), axis=-1)
    attended = graph.node("Transpose", graph.node("MatMul", share, value), perm=[0, 2, 1, 3])
    attended = graph.node("Reshape", attended, graph.constant(np.array([0, 0, width])))
    hidden = graph.node("Add", hidden, _dense(graph, attended, block.joined))
    wide = graph.node("Relu", _dense(graph, _norm(graph, hidden, block.between), block.wide))
    return graph.node("Add", hidden, _dense(graph, wide, block.narrow))


def _gru(graph: _Graph, hidden: str, gru: nn.GRU) -> str:
    """Add the layers. ONNX wants the update gate before the reset gate, and length before histories."""
    hidden = graph.node("Transpose", hidden, perm=[1, 0, 2])
    for layer in range(gru.num_layers):
        of_input, of_state = (_gates(getattr(gru, f"weight_{kind}_l{layer}")) for kind in ("ih", "hh"))
        biases = np.concatenate([_gates(getattr(gru, f"bias_{kind}_l{layer}")) for kind in ("ih", "hh")])
        weights = [graph.constant(part[None]) for part in (of_input, of_state, biases)]
        states = graph.node("GRU", hidden, *weights, hidden_size=gru.hidden_size, linear_before_reset=1)
        hidden = graph.node("Squeeze", states, graph.constant(np.array([1])))
    return graph.node("Transpose", hidden, perm=[1, 0, 2])


def _gates(weights: Tensor) -> NDArray[np.float32]:
    reset, update, new = np.split(weights.detach().numpy(), 3)
    return np.concatenate([update, reset, new])


def _norm(graph: _Graph, hidden: str, norm: nn.LayerNorm) -> str:
    return graph.node(
        "LayerNormalization", hidden, graph.weight(norm.weight), graph.weight(norm.bias), epsilon=norm.eps
    )


def _dense(graph: _Graph, hidden: str, layer: nn.Linear) -> str:
    products = graph.node("MatMul", hidden, graph.constant(np.ascontiguousarray(layer.weight.detach().numpy().T)))
    return graph.node("Add", products, graph.weight(layer.bias))
