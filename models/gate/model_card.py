"""Writes the model card (Mitchell et al. 2019): the facts about a version that a reviewer needs, in Markdown."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from typing import Final

from models.catalog import model_type
from models.evaluation.comparison.metric_table import Line, format_estimate
from models.evaluation.metrics.bootstrap import Estimate
from models.evaluation.metrics.user_averages import HIGH, LOW, NEW
from models.gate.results import GateResult
from models.gate.weaknesses import weaknesses
from models.primitives.escaping import for_markdown
from models.primitives.time import moment

LONGEST: Final = 5000
"""Longest description that MLflow stores, in characters."""
_MAIN: Final = ("ndcg_at_10", "recall_at_10", "hit_rate_at_10", "coverage_at_10", "long_tail_at_10")
_REASON: Final = 600
_GAP: Final = "\u2003"
"""Separates columns, because MLflow draws tables without space between them."""
_CUT: Final = "\n\n… the rest is in the report."


@dataclass(frozen=True)
class TrainingSummary:
    """The training data and the test data of a model."""

    dataset_version: str
    began: int
    """First purchase in epoch seconds; then the begin and the end of the test weeks."""
    test_from: int
    as_of: int
    users: int
    items: int
    measured: int
    """Users with purchases in the test weeks."""
    traits: tuple[str, ...] = ()
    """Sentences about the traits that were pooled, cut or left out before users were grouped by them."""
    refunds: tuple[int, int] = (0, 0)
    """Refunds that matched their purchase, and refunds that did not."""

    @property
    def sentence(self) -> str:
        """All of it in sentences."""
        return (
            f"Learned from what {self.users:,} people bought of {self.items:,} items from {moment(self.began)} UTC to "
            f"{moment(self.as_of)} UTC (data set {self.dataset_version}); measured on what {self.measured:,} of "
            f"them bought from {moment(self.test_from)} UTC on, by the same model trained before."
        ) + self._refunds

    @property
    def _refunds(self) -> str:
        """A sentence about refunds; empty without any."""
        matched, unmatched = self.refunds
        whole = matched + unmatched
        return f" Of {whole:,} refunds {matched:,} found the purchase that they take back." if whole else ""


@dataclass(frozen=True)
class ReviewedVersion:
    """A version that waits for a decision."""

    version: int
    kind: str
    candidate: str
    """Name of the version in the lines; then the name of the reference, if there is one."""
    reference: str | None
    material: TrainingSummary
    lines: Sequence[Line]
    """Metrics over all items, and over new items."""
    gains: Mapping[str, str]
    """By model, the gain in the deciding metric, with the interval."""
    summary: Mapping[str, float]
    gate: GateResult
    links: str
    """In Markdown."""


def verdict(version: int, gate: GateResult) -> str:
    """Return the gate's verdict in a sentence."""
    if gate.passed:
        return f"Version {version} passed the gate and waits for a person's decision."
    failed = [check.name for check in gate.checks if check.refused]
    return f"Version {version} was refused by the gate; it does not pass: {'; '.join(failed)}."


def about(kind: str) -> str:
    """Return what a kind of model does: the first sentence of its module."""
    return (sys.modules[model_type(kind).__module__].__doc__ or "").partition("\n")[0]


def card(subject: ReviewedVersion) -> str:
    """Return the card: verdict, description, metrics, groups, checks, limits, how to decide, links."""
    parts = {
        "What it is": f"`{subject.kind}`. {about(subject.kind)} {subject.material.sentence}",
        "Figures": _figures(subject),
        "Groups": " ".join([_groups(subject.gate), *map(for_markdown, subject.material.traits)]).strip(),
        "The gate": _checks(subject.gate),
        "Limits": "\n".join(f"- {for_markdown(sentence)}" for sentence in weaknesses(subject.summary, subject.gate)),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in parts.items() if text)
    end = f"\n\n## To decide\n\n{_how(subject.version)}\n\n{subject.links}".rstrip()
    room = LONGEST - len(end) - _REASON
    return _within(f"{for_markdown(verdict(subject.version, subject.gate))}\n\n{body}", room) + end


def with_verdict(text: str, sentence: str, otherwise: str = "") -> str:
    """Return the card with the verdict of a person on top; without a card, `otherwise` follows."""
    _, mark, body = text.partition("\n## ")
    top = sentence.replace("\n#", "\n\\#")  # keeps a reviewer's heading from being read as the card's first
    top = top if len(top) <= _REASON else f"{top[: _REASON - 1]}…"
    return f"{top}\n{mark}{body or otherwise}"[:LONGEST]


def _figures(subject: ReviewedVersion) -> str:
    names = [name for name in (subject.candidate, subject.reference) if name]
    head = ["", *names, "difference"] if subject.reference else ["", *names]
    rows = [head]
    for line in subject.lines:
        if line.figure in (*_MAIN, NEW + _MAIN[0]):
            title = line.meaning.partition(":")[0] + (", new items" if line.figure.startswith(NEW) else "")
            difference = [format_estimate(line.difference, "+")] if subject.reference else []
            rows.append([title, *(format_estimate(line.values.get(name)) for name in names), *difference])
    drawn = [f"| {f'{_GAP} | '.join(row)} |" for row in rows]
    table = "\n".join([drawn[0], f"|{' --- |' * len(head)}", *drawn[1:]])
    gains = "; ".join(f"over {name} {gain}" for name, gain in subject.gains.items())
    return table + (f"\n\nGains in NDCG@10: {gains}." if gains else "") + _time(subject.summary)


def _time(summary: Mapping[str, float]) -> str:
    """Return a sentence about the time of a list, empty when it was not measured."""
    if "score_ms" not in summary:
        return ""
    estimate = format_estimate(Estimate(*(summary.get(f"score_ms{edge}", nan) for edge in ("", LOW, HIGH))))
    return f"\n\nA list of 20 takes {estimate} ms of one thread, made as batch scoring makes it."


def _groups(gate: GateResult) -> str:
    judged = [group for group in gate.groups if group.judged]
    if not judged:
        return ""
    worst = min(judged, key=lambda group: group.difference)
    refused = sum(not group.passed for group in judged)
    difference = f"{worst.difference:+.4f} ({worst.low:+.4f} to {worst.high:+.4f})"
    share = "None is served significantly worse." if not refused else f"**Served worse: {refused}.**"
    group_label = f"{for_markdown(f'{worst.trait} {worst.value}')} ({worst.users:,} people)"
    return f"{len(judged)} groups of people were judged. {share} The worst off is {group_label}: {difference}."


def _checks(gate: GateResult) -> str:
    """Return refusals, warnings and inapplicable checks with their details, and the names of passed checks."""
    others = sorted((check for check in gate.checks if not check.passed), key=lambda check: not check.refused)
    failed = [
        f"- {check.outcome.mark} **{for_markdown(check.name)}**: {check.outcome.heading}{for_markdown(check.detail)}"
        for check in others
    ]
    passed = ", ".join(for_markdown(check.name) for check in gate.checks if check.passed)
    return "\n".join([*failed, *([f"- ✓ {passed}"] if passed else [])])


def _how(version: int) -> str:
    return (
        f"`tailorbird decide {version} --approve --reason …` or `--reject`; or the deployment `decide` in Prefect; or "
        "here: the tag `review` with `approved` or `rejected`, or the alias `champion` on this version."
    )


def _within(text: str, room: int) -> str:
    """Cut the text at the end of a line and add a note."""
    if len(text) <= room:
        return text
    return text[: text.rfind("\n", 0, room - len(_CUT))].rstrip() + _CUT
