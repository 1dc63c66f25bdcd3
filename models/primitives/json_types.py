"""Types of JSON whose shape another system or a user defines."""

from typing import Any

JsonObject = dict[str, Any]
"""A decoded JSON object: a request or answer of Prefect or MLflow, or free attributes of an item or a user."""
