"""What a column of a table holds, or has to hold."""

from typing import Literal

Kind = Literal["any", "number", "time", "text", "untyped", "nested"]
"""A CSV file is `untyped`: its values are whatever they can be read as. `nested` are lists and structures."""
