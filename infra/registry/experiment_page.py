"""Tags and address that make MLflow show the experiment as machine learning, with ten figures as columns.

The tags are MLflow's own. By default a browser opens every experiment as one of language models; the address overrides
that.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final

KIND: Final = "mlflow.experimentKind"
_VIEW: Final = "models"
_VIEW_TAG: Final = f"mlflow.sharedViewState.{_VIEW}"
_NAME: Final = "Models by their ten figures"
_WORKFLOW: Final = "workflowType=machine_learning"
_TAGS: Final = ("stage", "dataset_version")


def missing_tags(known: Mapping[str, str], figures: Sequence[str], now_ms: int) -> dict[str, str]:
    """Return the tags that an experiment lacks; tags that somebody changed stay."""
    columns = [f"metrics.`{name}`" for name in figures] + [f"tags.`{name}`" for name in _TAGS]
    state = {"selectedColumns": columns, "columnOrder": columns}
    view = {"name": _NAME, "createdAt": now_ms, "updatedAt": now_ms, "state": json.dumps(state)}
    tags = {KIND: "custom_model_development", _VIEW_TAG: json.dumps(view)}
    return {name: value for name, value in tags.items() if name not in known}


def address(pages: str, experiment: str) -> str:
    """Return the address of the experiment's runs with those columns."""
    return f"{pages}/#/experiments/{experiment}/runs?{_WORKFLOW}&viewStateShareKey={_VIEW}"
