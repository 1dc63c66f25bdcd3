"""Runs the trained network on histories, by ONNX Runtime and without PyTorch."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.recommenders.sequence.histories import Padded

_HIDDEN: Final = np.float32(-1e9)
"""What an event adds to the attention of earlier ones."""


@dataclass(frozen=True, eq=False)
class Encoder:
    """The network as an ONNX graph: it turns a history into a vector, whose products with items are scores."""

    graph: NDArray[np.uint8]
    """The bytes of the ONNX file."""

    def __call__(self, vectors: NDArray[np.float32], padded: Padded) -> NDArray[np.float32]:
        """Return [m, d] the vectors of m histories; `vectors` [n_items, d] are those of items, NaN without one."""
        m, length = padded.items.shape
        inputs = {
            "events": np.nan_to_num(vectors[padded.items]),
            "gaps": padded.gaps,
            "kinds": padded.kinds,
            "positions": np.arange(length),
            "mask": np.triu(np.full((length, length), _HIDDEN), 1),
            "last": np.column_stack([np.arange(m), padded.counts - 1]),
        }
        names = {one.name for one in self._session.get_inputs()}
        encoded: NDArray[np.float32] = self._session.run(["encoded"], {name: inputs[name] for name in names})[0]
        return encoded

    @cached_property
    def _session(self) -> Any:
        """The loaded graph. It has no threads of its own, so that a forked process can go on with it."""
        import onnxruntime as runtime

        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return runtime.InferenceSession(self.graph.tobytes(), options, providers=["CPUExecutionProvider"])
