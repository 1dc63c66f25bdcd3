"""Files that make a bundle an MLflow model: they name its loader and its schema. No code, no pickle."""

import sys
from typing import Final

from mlflow import pyfunc
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import Array, ColSpec, DataType, Schema

from infra.configuration.version import package_version
from infra.registry.client import MODEL_PATH

LOADER: Final = "serving.pyfunc"
"""A module of the wheel: a host that serves has Tailorbird installed, and the model contains no code."""
_INPUTS: Final = Schema(
    [
        ColSpec(DataType.string, "user"),
        ColSpec(DataType.long, "k", required=False),
        ColSpec(DataType.string, "placement", required=False),
        ColSpec(Array(DataType.string), "exclude", required=False),
    ]
)
_OUTPUTS: Final = Schema(
    [
        ColSpec(DataType.string, "user"),
        ColSpec(DataType.string, "placement"),
        ColSpec(DataType.long, "rank"),
        ColSpec(DataType.string, "item_id"),
        ColSpec(DataType.double, "score"),
        ColSpec(DataType.string, "reason"),
        ColSpec(DataType.string, "run_id"),
    ]
)


def mlflow_files(run_id: str) -> dict[str, str]:
    """Return the text of `MLmodel` for a run's bundle, and of the files that `--env-manager virtualenv` reads."""
    model = Model(artifact_path=MODEL_PATH, run_id=run_id, signature=ModelSignature(_INPUTS, _OUTPUTS))
    pyfunc.add_to_model(model, loader_module=LOADER, python_env="python_env.yaml")
    python = ".".join(map(str, sys.version_info[:3]))
    return {
        "MLmodel": model.to_yaml(),
        "python_env.yaml": f"python: {python}\nbuild_dependencies:\n- pip\ndependencies:\n- -r requirements.txt\n",
        "requirements.txt": f"tailorbird=={package_version()}\n",
    }
