"""Tests that pages, messages, help texts and names of tests contain no words that only this project uses."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("flows", "tasks", "infra", "models", "serving", "expectations")
PRIVATE = re.compile(
    r"\b(written down|write down|anew|mend(s|ed|ing)?|heard?|hears|lest|spoken|told|is said|was said|tells? of"
    r"|(starts|runs) by itself|of the house|(somebody|nobody|robot) did it)\b"
)
SQL = re.compile(r"\b(SELECT|UPDATE|INSERT|FROM|WHERE|JOIN|AS|CONFLICT)\b")
READ = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PRIVATE_ON_PAGES = re.compile(
    rf"{PRIVATE.pattern}|\b(said|whoever|he|his|him)\b|(^|[.:;] +)(Of|Where|Whom|For) (who|whom|what|which)\b",
    re.MULTILINE,
)
PRIVATE_IN_NAMES = re.compile(
    r"^test_(of_)?(what|where|who|whoever|whom)_"
    r"|_(said|says?|saying|told|tells?|heard?|hears|anew|mend(s|ed)?|lest|spoken|speaks|he|his|him)(_|$)"
)
CODE = re.compile(r"^```.*?^```$|`[^`]*`|\"[^\"\n]*\"", re.MULTILINE | re.DOTALL)


def shown(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the texts of a file that people may read: no docstrings, but those of commands and flows, and no SQL."""
    tree, docstrings = ast.parse(file.read_text()), set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        helps = isinstance(node, ast.FunctionDef) and node.decorator_list and file.relative_to(ROOT).parts[0] == "flows"
        docstrings |= {id(part.value) for part in node.body[1 if helps else 0 :] if isinstance(part, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.lineno, node.value


@pytest.mark.parametrize("package", PACKAGES)
def test_messages_and_help_texts_have_no_private_words(package: str) -> None:
    files = [file for file in (ROOT / package).rglob("*.py") if "migrations" not in file.parts]
    assert files
    violations = [
        f"{file.relative_to(ROOT)}:{line}: {match[0]!r} in {text[:100]!r}"
        for file in files
        for line, text in shown(file)
        if " " in text and not SQL.search(text) and (match := PRIVATE.search(text))
    ]
    assert violations == []


@pytest.mark.parametrize("page", READ, ids=[str(page.relative_to(ROOT)) for page in READ])
def test_pages_have_no_private_words(page: Path) -> None:
    text = CODE.sub(lambda code: re.sub(r"[^\n]", " ", code[0]), page.read_text())
    violations = [
        f"{page.relative_to(ROOT)}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}"
        for match in PRIVATE_ON_PAGES.finditer(text)
    ]
    assert violations == []


def test_names_of_tests_have_things_or_actors_as_subjects_and_no_private_words() -> None:
    files = list((ROOT / "tests").rglob("test_*.py"))
    assert files
    violations = [
        f"{file.relative_to(ROOT)}: {name}"
        for file in files
        for name in re.findall(r"^ *(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
        if PRIVATE_IN_NAMES.search(name)
    ]
    assert violations == []
