"""Compile the nodes of an expression to SQL: only listed functions and nodes are allowed."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import duckdb

from models.primitives.arrow_sql import literal, query
from models.primitives.json_types import JsonObject

ArgumentKind = Literal["text", "number", "condition", "literal", "pattern", "whole"]
"""`literal`, `pattern` and `whole` are literals: a text, a regular expression, a whole number."""

LONGEST_TEXT: Final = 4_000
"""The length at which growing texts are cut: nested replacements could fill the memory."""
_SPACE: Final = " \t\r\n\v\f\N{NO-BREAK SPACE}"
_CUT: Final = f"nullif(left({{}}, {LONGEST_TEXT}), '')"


@dataclass(frozen=True)
class Function:
    """One function. Arguments beyond `least` may be left out and are 0; without it, none may."""

    takes: tuple[ArgumentKind, ...]
    returns: Literal["text", "number", "condition"]
    sql: str
    least: int = 0


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


class Term(NamedTuple):
    """A part of an expression as SQL of each kind; None if it has no such kind.

    The kind of a column is open: it is read as a text or as a number, independent of its type in the file.
    """

    kind: str
    number: str | None = None
    text: str | None = None
    condition: str | None = None


_FINITE: Final = "nullif(nullif(nullif({}, 'nan'::DOUBLE), 'inf'::DOUBLE), '-inf'::DOUBLE)"


def compiled(node: JsonObject, kind: str, decimal: str, *, finite: bool = True) -> tuple[str, tuple[str, ...]]:
    """Return SQL that computes a `kind`, and the source columns of its `t0`, `t1` … in order. Raises ValueError.

    With `finite`, NaN and infinity become null.
    """
    compiler = _Compiler(decimal)
    statement = _as(kind, compiler.term(node))
    return (_FINITE.format(statement) if kind == "number" and finite else statement), tuple(compiler.columns)


def try_out(statement: str, columns: int) -> None:
    """Run the compiled SQL over no rows, to find invalid regular expressions. Raises ValueError."""
    names = ", ".join(f"NULL::VARCHAR AS t{place}, NULL::DOUBLE AS n{place}" for place in range(columns))
    try:
        query(f"SELECT {statement} FROM (SELECT {names or '1'} LIMIT 0)")
    except duckdb.Error as error:
        raise ValueError(f"the expression cannot be used ({type(error).__name__})") from None


def number_of(text: str, decimal: str) -> str:
    """Return SQL that reads a text as a number, else null. DuckDB itself would read 1_0 as 10."""
    plain = f"replace({text}, '_', '?')"
    if decimal != ".":
        plain = f"replace({plain}, '{decimal}', '.')"
    return _FINITE.format(f"TRY_CAST({plain} AS DOUBLE)")


def _as(kind: str, term: Term) -> str:
    form: str | None = getattr(term, kind)
    if form is None:
        advice = {"condition": "write a comparison, such as Flag = 'yes'", "number": "write number(…) around a text"}
        raise ValueError(f"a {term.kind} stands where a {kind} is needed; {advice.get(kind, 'write a text')}")
    return form


def _finite(written: str) -> float:
    try:
        number = float(written)
    except ValueError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{written[:20]} cannot be used as a number; write it as 12.5")
    return number


class _Compiler:
    def __init__(self, decimal: str) -> None:
        self.columns: dict[str, int] = {}
        self.decimal = decimal
        self.by_class: dict[str, Callable[[JsonObject], Term]] = {
            "COLUMN_REF": self.column,
            "CONSTANT": self.constant,
            "COMPARISON": self.comparison,
            "CONJUNCTION": self.conjunction,
            "BETWEEN": self.between,
            "OPERATOR": self.operator,
            "CASE": self.case,
            "FUNCTION": self.function,
        }

    def term(self, node: JsonObject) -> Term:
        """Compile one node and all nodes below it."""
        known = self.by_class.get(node["class"])
        if known is None:
            hint = "; write number(…) or text(…)" if node["class"] == "CAST" else ""
            raise ValueError(
                f"an expression holds columns, literals, operators and functions, no {node['class']}{hint}"
            )
        return known(node)

    def column(self, node: JsonObject) -> Term:
        if len(node["column_names"]) != 1:
            raise ValueError("write the name of a column with a dot in double quotes")
        place = self.columns.setdefault(node["column_names"][0], len(self.columns))
        return Term("column", f"n{place}", f"t{place}")

    def constant(self, node: JsonObject) -> Term:
        kind, text = node["literal"]["kind"], node["literal"]["text"]
        if kind == "NULL_LITERAL":
            return Term("null", "NULL::DOUBLE", "NULL::VARCHAR", "NULL::BOOLEAN")
        if kind == "BOOLEAN":
            return self.made("condition", "TRUE" if text.lower() == "true" else "FALSE")
        if kind == "STRING":
            return Term("text", text=literal(text))
        return self.made("number", f"{_finite(text)!r}::DOUBLE")

    def made(self, kind: str, sql: str) -> Term:
        """Return a term of a known kind."""
        if kind == "number":
            return Term(kind, number=sql, text=f"regexp_replace(CAST({sql} AS VARCHAR), '\\.0$', '')")
        if kind == "text":
            return Term(kind, text=sql, number=number_of(sql, self.decimal))
        return Term(kind, condition=sql, text=f"CAST({sql} AS VARCHAR)")

    def comparison(self, node: JsonObject) -> Term:
        sign = COMPARISONS.get(node["type"])
        if sign is None:
            raise ValueError(f"there is no comparison {node['type']}; use =, <>, <, <=, > and >=")
        return self.compared(sign, [self.term(node["left"]), self.term(node["right"])])

    def compared(self, sign: str, terms: list[Term]) -> Term:
        """Compare as numbers if one side is a number, or two columns by < and >; otherwise as texts."""
        kinds = {term.kind for term in terms}
        if "null" in kinds or any(term.text == literal("") for term in terms):
            raise ValueError("an empty value is null in an expression; write `is null` or `is not null`")
        if "number" in kinds or (kinds == {"column"} and sign not in ("=", "<>")):
            kind = "number"
        else:
            kind = "condition" if kinds == {"condition"} else "text"
        first, second = (_as(kind, term) for term in terms)
        return self.made("condition", f"({first} {sign} {second})")

    def between(self, node: JsonObject) -> Term:
        value, low, high = (self.term(node[name]) for name in ("input", "lower", "upper"))
        parts = [self.compared(">=", [value, low]).condition, self.compared("<=", [value, high]).condition]
        return self.made("condition", f"({parts[0]} AND {parts[1]})")

    def conjunction(self, node: JsonObject) -> Term:
        word = " AND " if node["type"] == "CONJUNCTION_AND" else " OR "
        parts = [_as("condition", self.term(child)) for child in node["children"]]
        return self.made("condition", f"({word.join(parts)})")

    def operator(self, node: JsonObject) -> Term:
        kind, terms = node["type"], [self.term(child) for child in node["children"]]
        if kind == "OPERATOR_NOT":
            return self.made("condition", f"(NOT {_as('condition', terms[0])})")
        if kind in ("OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"):
            form = terms[0].number if terms[0].kind == "number" else _as("text", terms[0])
            return self.made("condition", f"({form} IS {'NOT ' if 'NOT' in kind else ''}NULL)")
        if kind == "COMPARE_IN":
            parts = [self.compared("=", [terms[0], term]).condition for term in terms[1:]]
            return self.made("condition", f"({' OR '.join(map(str, parts))})")
        if kind == "OPERATOR_COALESCE":
            return self.chosen(lambda forms: f"coalesce({', '.join(forms)})", terms)
        raise ValueError(f"there is no operator {kind} in an expression")

    def case(self, node: JsonObject) -> Term:
        checks = node["case_checks"]
        conditions = [_as("condition", self.term(check["when_expr"])) for check in checks]
        results = [*(self.term(check["then_expr"]) for check in checks), self.term(node["else_expr"])]

        def sql(forms: list[str]) -> str:
            whens = " ".join(f"WHEN {when} THEN {then}" for when, then in zip(conditions, forms[:-1], strict=True))
            return f"(CASE {whens} ELSE {forms[-1]} END)"

        return self.chosen(sql, results)

    def chosen(self, sql: Callable[[list[str]], str], terms: list[Term]) -> Term:
        """Return one of several terms: a text if any is a text, else a number if any is; columns alone stay open."""
        kinds = {term.kind for term in terms} - {"column", "null"}
        if "condition" in kinds:
            return self.made("condition", sql([_as("condition", term) for term in terms]))
        if kinds:
            kind = "text" if "text" in kinds else "number"
            return self.made(kind, sql([_as(kind, term) for term in terms]))
        forms = {kind: sql([_as(kind, term) for term in terms]) for kind in ("number", "text")}
        return Term("column", **forms)

    def function(self, node: JsonObject) -> Term:
        name, given = node["function_name"].lower(), node["arguments"]
        plain = not (node["distinct"] or node["filter"] or node["order_bys"]["orders"] or node["catalog"])
        if not plain or node["schema"] or any(argument["name"] for argument in given):
            raise ValueError(f"{name} is called here as an expression cannot; write {name}(…) with plain arguments")
        arguments = [argument["expression"] for argument in given]
        if node["is_operator"] and name in ARITHMETIC:
            return self.arithmetic(name, arguments)
        if name in ("~~", "!~~"):
            raise ValueError("there is no `like` in an expression; use starts_with, ends_with, contains or matches")
        if name == "||":
            return self.made("text", f"({' || '.join(_as('text', self.term(part)) for part in arguments)})")
        if name in CHOICES:
            return self.choice(name, arguments)
        if name not in FUNCTIONS:
            raise ValueError(f"there is no function {name} in an expression; use {', '.join(NAMES)}")
        return self.called(name, FUNCTIONS[name], arguments)

    def arithmetic(self, sign: str, arguments: list[JsonObject]) -> Term:
        numbers = [_as("number", self.term(part)) for part in arguments]
        if len(numbers) == 1:
            return self.made("number", f"({sign}{numbers[0]})")
        return self.made("number", ARITHMETIC[sign].format(*numbers))

    def choice(self, name: str, arguments: list[JsonObject]) -> Term:
        needed = {"if": 3, "nullif": 2}[name]
        if len(arguments) != needed:
            raise ValueError(f"{name} takes {needed} arguments, and {len(arguments)} are given")
        if name == "if":
            when = _as("condition", self.term(arguments[0]))
            then = [self.term(part) for part in arguments[1:]]
            return self.chosen(lambda forms: f"(CASE WHEN {when} THEN {forms[0]} ELSE {forms[1]} END)", then)
        return self.chosen(lambda forms: f"nullif({forms[0]}, {forms[1]})", [self.term(part) for part in arguments])

    def called(self, name: str, function: Function, arguments: list[JsonObject]) -> Term:
        missing = len(function.takes) - len(arguments)
        if not 0 <= missing <= (len(function.takes) - function.least if function.least else 0):
            raise ValueError(f"{name} takes {len(function.takes)} arguments, and {len(arguments)} are given")
        forms = [self.argument(name, takes, node) for takes, node in zip(function.takes, arguments, strict=False)]
        return self.made(function.returns, function.sql.format(*forms, *["0"] * missing))

    def argument(self, name: str, takes: str, node: JsonObject) -> str:
        """Return one argument of a function as SQL."""
        if takes in ("text", "number", "condition"):
            return _as(takes, self.term(node))
        written = node.get("literal", {"kind": "", "text": ""})
        if takes == "whole":
            if written["kind"] != "INTEGER" or not abs(int(written["text"])) <= 10_000:
                raise ValueError(f"{name} needs a whole number that is written out, such as 2")
            return str(int(written["text"]))
        if written["kind"] != "STRING":
            raise ValueError(f"{name} needs a text that is written out, such as 'abc'")
        if takes == "pattern":
            _check_pattern(written["text"])
        return literal(written["text"])


def _check_pattern(pattern: str) -> None:
    try:
        query(f"SELECT regexp_matches('', {literal(pattern)})")
    except duckdb.Error:
        raise ValueError(f"the regular expression {pattern[:80]!r} cannot be used; write it as RE2 reads it") from None
