"""What a search may try for a model's settings, said without naming the library that searches."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Float:
    """A real number in [low, high]; `log` when its order of magnitude is what matters."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Integer:
    """A whole number in [low, high], both ends included."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True)
class Choice:
    """One of the listed values."""

    values: tuple[str | int | float | bool, ...]


Parameter = Float | Integer | Choice
