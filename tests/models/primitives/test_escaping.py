import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.primitives.escaping import for_markdown, for_plot, for_terminal

mistune = pytest.importorskip("mistune")
ANYTHING = st.text(st.characters(codec=None, categories=("L", "N", "P", "S", "Z", "C")))


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b]0;title\x07Milk", r"\x1b]0;title\x07Milk"),
        ("\x1b[2JMilk\rTea\bX", r"\x1b[2JMilk\x0dTea\x08X"),
        ("\x9b31m", r"\x9b31m"),
        ("abc\u202edef\u2066", r"abc\u202edef\u2066"),
        ("two\nlines\u2028more", r"two\x0alines\u2028more"),
        ("a\udcffb", r"a\udcffb"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_characters_that_move_the_cursor_or_hide_text_are_escaped(hostile: str, shown: str) -> None:
    assert for_terminal(hostile) == shown


@pytest.mark.parametrize("text", ["Milk [/2L]", "[red]", ":smile:", "Käse 1½ €", "牛乳", "👩‍🍳", "می‌خواهم", "עברית"])
def test_all_other_text_stays_as_it_is(text: str) -> None:
    assert for_terminal(text) == text


@given(ANYTHING)
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    shown = for_terminal(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert not [c for c in shown if unicodedata.bidirectional(c) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI")]


def test_a_message_keeps_the_line_ends_it_asks_for() -> None:
    assert for_terminal("one\n\x1btwo", allowed="\n") == "one\n\\x1btwo"


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script>",
        "</td></table>",
        "a | b",
        "`code`",
        "[x](javascript:alert(1))",
        "![](http://evil.example/x.png)",
        "<http://evil.example>",
        "http://evil.example/x www.evil.example a@evil.example mailto:x",
        "# title\n\n* one\n---\n> quote",
        "[a]: http://evil.example",
        "1. x\n2. y",
        "~~gone~~ $x$ &lt;b&gt; &#60;",
        "\\[x](y)",
        "{{ 7 * 7 }} {% raw %}",
    ],
)
def test_markdown_shows_the_text_and_makes_no_element_of_it(hostile: str) -> None:
    renderer = mistune.create_markdown(escape=False, plugins=["table", "strikethrough", "url", "footnotes"])
    page = renderer(f"| name |\n| --- |\n| {for_markdown(hostile)} |\n")
    tags = set(re.findall(r"<(\w+)", page))
    assert tags <= {"table", "thead", "tbody", "tr", "th", "td"}
    assert page.count("<td>") == 1


def test_a_label_in_a_plot_is_one_short_line() -> None:
    assert for_plot("$\\frac{1$ deal") == "$\\frac{1$ deal"
    assert for_plot("two\n lines") == "two lines"
    assert for_plot("x" * 100_000) == "x" * 49 + "…"
