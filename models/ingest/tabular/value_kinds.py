"""Define the kinds of values in a column of a table."""

from typing import Literal

Kind = Literal["any", "number", "time", "text", "untyped", "nested"]
"""A CSV file is `untyped`: its values have no declared type. `nested` are lists and structures."""
