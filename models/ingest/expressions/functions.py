"""Define the functions that an expression of a mapping may call: arguments, result and SQL."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

ArgumentKind = Literal["text", "number", "condition", "literal", "pattern", "whole"]
"""`literal`, `pattern` and `whole` are literals: a text, a regular expression, a whole number."""

LONGEST_TEXT: Final = 4_000
"""The length at which growing texts are cut: nested replacements could fill the memory."""
_SPACE: Final = " \t\r\n\v\f\N{NO-BREAK SPACE}"
_CUT: Final = f"nullif(left({{}}, {LONGEST_TEXT}), '')"


@dataclass(frozen=True)
class Function:
    """One function. Arguments beyond `least` may be left out."""

    takes: tuple[ArgumentKind, ...]
    returns: Literal["text", "number", "condition"]
    sql: str
    least: int = 0

    @property
    def fewest(self) -> int:
        """Return the smallest number of arguments."""
        return self.least or len(self.takes)


FUNCTIONS: Final = MappingProxyType(
    {
        "starts_with": Function(("text", "text"), "condition", "starts_with({0}, {1})"),
        "ends_with": Function(("text", "text"), "condition", "ends_with({0}, {1})"),
        "contains": Function(("text", "text"), "condition", "contains({0}, {1})"),
        "matches": Function(("text", "pattern"), "condition", "regexp_matches({0}, {1})"),
        "replace": Function(("text", "literal", "literal"), "text", _CUT.format("replace({0}, {1}, {2})")),
        "regexp_replace": Function(
            ("text", "pattern", "literal"), "text", _CUT.format("regexp_replace({0}, {1}, {2}, 'g')")
        ),
        "regexp_extract": Function(("text", "pattern"), "text", "nullif(regexp_extract({0}, {1}), '')"),
        "trim": Function(("text",), "text", f"nullif(trim({{0}}, '{_SPACE}'), '')"),
        "lower": Function(("text",), "text", "lower({0})"),
        "upper": Function(("text",), "text", "upper({0})"),
        "substr": Function(("text", "whole", "whole"), "text", "nullif(substr({0}, {1}, {2}), '')"),
        "length": Function(("text",), "number", "CAST(length({0}) AS DOUBLE)"),
        "abs": Function(("number",), "number", "abs({0})"),
        "round": Function(("number", "whole"), "number", "round({0}, {1})", least=1),
        "floor": Function(("number",), "number", "floor({0})"),
        "ceil": Function(("number",), "number", "ceil({0})"),
        "number": Function(("number",), "number", "{0}"),
        "text": Function(("text",), "text", "{0}"),
    }
)
CHOICES: Final = ("if", "coalesce", "nullif")
"""Functions that return the kind of their arguments."""
NAMES: Final = sorted([*FUNCTIONS, *CHOICES])
ARITHMETIC: Final = MappingProxyType(
    {
        "+": "({0} + {1})",
        "-": "({0} - {1})",
        "*": "({0} * {1})",
        "/": "({0} / nullif({1}, 0))",
        "%": "({0} % nullif({1}, 0))",
    }
)
COMPARISONS: Final = MappingProxyType(
    {
        "COMPARE_EQUAL": "=",
        "COMPARE_NOTEQUAL": "<>",
        "COMPARE_LESSTHAN": "<",
        "COMPARE_LESSTHANOREQUALTO": "<=",
        "COMPARE_GREATERTHAN": ">",
        "COMPARE_GREATERTHANOREQUALTO": ">=",
    }
)
