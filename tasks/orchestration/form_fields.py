"""Types of fields in the forms of deployments, and of the same arguments of commands."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

Choice = Literal["approve", "reject"]
"""Two words, because a switch that is off sends nothing, which Prefect treats as a missing value."""
Words = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
"""Text that is not blank."""
Policies = Annotated[list[Literal["never", "weekly", "monthly", "drift"]], Field(min_length=1)]
"""Policies of retraining, at least one: `models.monitoring.retraining_policies.Policy`."""
Models = Annotated[list[str], Field(min_length=1)]
"""Kinds of model, at least one."""
