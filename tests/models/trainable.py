"""The kinds of model that can be trained here, and settings with which tests train them soon."""

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, Final

import pytest

from models import catalog

MISSING: Final = [name for name in ("torch", "onnx", "onnxruntime") if find_spec(name) is None]
NEEDS_TORCH: Final = pytest.mark.skipif(
    bool(MISSING), reason=f"{', '.join(MISSING)} missing: `make sequence` installs the extra"
)
TRAINABLE: Final = [kind for kind in catalog.CATALOG if kind != "sequence" or not MISSING]
SETTINGS: Final[dict[str, dict[str, Any]]] = {"sequence": {"dimensions": 16, "blocks": 1, "epochs": 6}}


def marked(kinds: Iterable[str]) -> list[Any]:
    """Return the kinds as parameters of a test, skipped by name if they cannot be trained here."""
    return [pytest.param(kind, marks=[] if kind in TRAINABLE else [NEEDS_TORCH]) for kind in kinds]


def quick_config(kind: str) -> Any:
    """Return settings with which a model of the kind is trained soon."""
    return catalog.config(kind, SETTINGS.get(kind))
