"""Tests that every command in README and docs exists, with the options and arguments that they show."""

import re
import shlex
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


def test_pages_that_show_commands_are_found() -> None:
    assert len(BLOCKS) > 30
    assert len(INLINE) > 30


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_a_page_starts_with_a_command(page: Path) -> None:
    first_screen = page.read_text().splitlines()[:20]
    assert "```sh" in first_screen, f"{page.name} does not start with the shortest way to its result"
