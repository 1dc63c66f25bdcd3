"""States which models a review compares."""

from collections.abc import Iterable, Mapping


def compared_sentences(
    version: str, requested: Mapping[str, bool], champion: int | None = None, excluded: Iterable[str] = ()
) -> str:
    """Return sentences on the models that are compared, those that are trained first, and those left out.

    `requested` states for each kind whether it is trained already; `excluded` are other trained kinds.
    """
    parts = [(f"{', '.join(kinds)} ({words})") for kinds, words in _by_state(requested) if kinds]
    if champion is not None:
        parts.append(f"the champion, version {champion}")
    sentence = f"Compared on {version}: {'; '.join(parts)}."
    others = ", ".join(excluded)
    return (
        f"{sentence} Left out: {others}, trained but not named; --model names all that are compared."
        if others
        else sentence
    )


def _by_state(requested: Mapping[str, bool]) -> Iterable[tuple[list[str], str]]:
    for state, words in ((True, "trained already"), (False, "trained now")):
        yield [kind for kind, trained in requested.items() if trained is state], words
