"""Tests that commands in README and docs exist as shown, and that texts contain no words of this project alone."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.__main__ import app
from tests.docs.shown import commands_of

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAM: Any = typer.main.get_command(app)
_INLINE = re.compile(r"`tailorbird ([a-z][^`]*)`")
_PLACEHOLDER = re.compile(r"[\[\]…|]|\b[A-Z]{3,}\b")
BLOCKS = [pytest.param(text, id=f"{page.name}: {text[:60]}") for page in PAGES for text in commands_of(page)]
INLINE = sorted({(page.name, text) for page in PAGES for text in _INLINE.findall(page.read_text())})
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


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """Follow names of groups to a command; return it with the remaining words."""
    click_command = PROGRAM
    while words and hasattr(click_command, "commands"):
        name = words[0]
        if default := getattr(click_command, "default", ""):
            name, words = (name, words) if name in click_command.commands else (default, [default, *words])
        assert name in click_command.commands, (
            f"there is no command `{name}`; there are {', '.join(click_command.commands)}"
        )
        click_command, words = click_command.commands[name], words[1:]
    return click_command, words


@pytest.mark.parametrize("text", BLOCKS)
def test_a_command_of_a_shell_block_can_be_run_as_it_is_shown(text: str) -> None:
    click_command, words = command_of(shlex.split(text))
    click_command.make_context("tailorbird", words)


@pytest.mark.parametrize(("page", "text"), INLINE)
def test_a_command_within_a_sentence_exists_with_its_options(page: str, text: str) -> None:
    words = _PLACEHOLDER.sub(" ", text).split()
    click_command, arguments = command_of([word for word in words if not word.startswith("-")])
    options = {name for parameter in click_command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in words if word.startswith("--") and word not in options]
    assert not unknown, f"{page}: `{click_command.name}` has no {unknown}; arguments: {arguments}"


def rollbacks() -> Iterator[Any]:
    """Yield each rollback that a page or a message shows."""
    texts = [(page, page.read_text()) for page in PAGES]
    files = [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    texts += [(file, text) for file in files for _, text in shown(file)]
    for file, text in texts:
        for command in re.findall(r"`tailorbird (rollback [^`]*)`", text):
            yield pytest.param(command, id=f"{file.relative_to(ROOT)}: {command}")


@pytest.mark.parametrize("text", rollbacks())
def test_a_rollback_can_be_run_as_a_page_or_a_message_shows_it(text: str) -> None:
    click_command, words = command_of(shlex.split(text))
    click_command.make_context("tailorbird", words)


def test_pages_that_show_commands_are_found() -> None:
    assert len(BLOCKS) > 30
    assert len(INLINE) > 30


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_a_page_starts_with_a_command(page: Path) -> None:
    first_screen = page.read_text().splitlines()[:20]
    assert "```sh" in first_screen, f"{page.name} does not start with the shortest way to its result"


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
