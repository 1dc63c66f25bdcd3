"""Types of fields in the forms of deployments, and of the same arguments elsewhere."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

Choice = Literal["approve", "reject"]
"""A switch that is off sends nothing, so Prefect takes it for an answer that is missing. Two words are two answers."""
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""Text that is not blank."""
Models = Annotated[list[str], Field(min_length=1)]
"""Kinds of model, at least one."""
