"""What people read in a terminal or on a form has none of the words that only we use."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("flows", "tasks", "infra", "models", "serving", "expectations")
PRIVATE = re.compile(
    r"\b(written down|write down|anew|mend(s|ed|ing)?|heard?|hears|lest|spoken|told|is said|was said|tells? of"
    r"|(starts|runs) by itself)\b"
)
SQL = re.compile(r"\b(SELECT|UPDATE|INSERT|FROM|WHERE|JOIN|AS|CONFLICT)\b")


def shown(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a file that people may read: no docstrings, but those of commands and flows, and no SQL."""
    tree, silent = ast.parse(file.read_text()), set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        helps = isinstance(node, ast.FunctionDef) and node.decorator_list and file.relative_to(ROOT).parts[0] == "flows"
        silent |= {id(part.value) for part in node.body[1 if helps else 0 :] if isinstance(part, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            yield node.lineno, node.value


@pytest.mark.parametrize("room", ROOMS)
def test_messages_and_help_texts_have_no_private_words(room: str) -> None:
    files = [file for file in (ROOT / room).rglob("*.py") if "migrations" not in file.parts]
    assert files
    found = [
        f"{file.relative_to(ROOT)}:{line}: {match[0]!r} in {text[:100]!r}"
        for file in files
        for line, text in shown(file)
        if " " in text and not SQL.search(text) and (match := PRIVATE.search(text))
    ]
    assert found == []
