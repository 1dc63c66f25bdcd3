"""Says which models a review compares."""

from collections.abc import Iterable, Mapping


def compared_sentences(
    version: str, named: Mapping[str, bool], champion: int | None = None, left_out: Iterable[str] = ()
) -> str:
    """Return which models are compared on a data set, which of them are trained first, and which are left out.

    `named` states for each kind whether it is trained already; `left_out` are trained kinds that nobody named.
    """
    parts = [(f"{', '.join(kinds)} ({words})") for kinds, words in _by_state(named) if kinds]
    if champion is not None:
        parts.append(f"the champion, version {champion}")
    sentence = f"Compared on {version}: {'; '.join(parts)}."
    others = ", ".join(left_out)
    return (
        f"{sentence} Left out: {others}, trained but not named; --model names all that are compared."
        if others
        else sentence
    )


def _by_state(named: Mapping[str, bool]) -> Iterable[tuple[list[str], str]]:
    for state, words in ((True, "trained already"), (False, "trained now")):
        yield [kind for kind, trained in named.items() if trained is state], words
