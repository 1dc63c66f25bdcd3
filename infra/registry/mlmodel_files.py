"""What makes a bundle an MLflow model: files by which MLflow finds its loader and schema. No code, no pickle."""

import sys
from typing import Final

from mlflow import pyfunc
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import Array, ColSpec, DataType, Schema

from infra.configuration.version import package_version
from infra.registry.client import MODEL_PATH

LOADER: Final = "serving.pyfunc"
"""In the wheel: a host that answers has Tailorbird installed, and the model brings nothing to be run."""
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
    """The text of `MLmodel` for a run's bundle, and of what `--env-manager virtualenv` makes its environment from."""
    model = Model(artifact_path=MODEL_PATH, run_id=run_id, signature=ModelSignature(_INPUTS, _OUTPUTS))
    pyfunc.add_to_model(model, loader_module=LOADER, python_env="python_env.yaml")
    python = ".".join(map(str, sys.version_info[:3]))
    return {
        "MLmodel": model.to_yaml(),
        "python_env.yaml": f"python: {python}\nbuild_dependencies:\n- pip\ndependencies:\n- -r requirements.txt\n",
        "requirements.txt": f"tailorbird=={package_version()}\n",
    }
