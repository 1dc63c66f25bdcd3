"""Summarises a version for its reviewers, and writes its model card (Mitchell et al. 2019) in Markdown."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, nan
from typing import Final

from models.catalog import model_type
from models.evaluation.comparison import BASELINES, Line, by_history, comparison, costs, format_estimate, gain
from models.evaluation.metrics.bootstrap import (
    COLD,
    COLD_BASKETS,
    HIGH,
    ITEM_KINDS,
    LOW,
    NEW,
    NEWCOMER,
    REPEAT,
    Estimate,
)
from models.evaluation.metrics.ranking import METRIC
from models.evaluation.offline import SEED, Evaluation
from models.gate.results import GateResult, GroupResult
from models.primitives.escaping import for_markdown
from models.primitives.time import moment

THIS: Final = "this version"
"""Name of the candidate among the compared models."""
_TITLES: Final = {"": "All items", NEW: "Items that are new to the person", REPEAT: "Items that the person had bought"}
"""Titles of tables by the kind of items: the prefix of their metrics."""


@dataclass(frozen=True)
class ReviewSummary:
    """A version, the models that it was compared with on the same users, and the gate's result."""

    version: int
    run_id: str
    reference_run_id: str | None
    """Run of the champion on this data set, None before the first one. The best baseline is the reference without a
    champion, and if the version has the champion's own settings."""
    kinds: Mapping[str, str]
    """By run, the kind of each compared model."""
    evaluations: Mapping[str, Evaluation]
    """By run."""
    dataset_version: str
    gate: GateResult

    @property
    def kind(self) -> str:
        """The kind of the version's model."""
        return self.kinds[self.run_id]

    @property
    def candidate(self) -> Evaluation:
        """The evaluation of the version."""
        return self.evaluations[self.run_id]

    @property
    def verdict(self) -> str:
        """The gate's verdict in a sentence."""
        if self.gate.passed:
            return f"Version {self.version} passed the gate and waits for a person's decision."
        failed = "; ".join(check.name for check in self.gate.checks if check.refused)
        return f"Version {self.version} was refused by the gate; it does not pass: {failed}."

    @cached_property
    def reference(self) -> str | None:
        """Name of the model that the version is compared with; None without any."""
        champion = self.reference_run_id
        if champion and champion != self.run_id:
            return self._name(champion)
        baselines = {
            name: evaluation.summary.get(METRIC, 0.0)
            for name, evaluation in self._compared_models().items()
            if name in BASELINES
        }
        return max(sorted(baselines), key=lambda name: baselines[name], default=None)

    @property
    def reference_sentence(self) -> str:
        """The reference in a sentence."""
        if self.reference is None:
            return "There is no model to compare it with."
        why = "" if self.reference_run_id else ", the best of the baselines, since there is no champion yet"
        if self.reference_run_id == self.run_id:
            why = ", the best of the baselines, since it is the champion's own recipe, learned from newer data"
        return f"This version is compared with {self.reference}{why}."

    @cached_property
    def compared(self) -> dict[str, Evaluation]:
        """By name, in the order of columns: the version, the reference, the baselines."""
        others, first = self._compared_models(), [self.reference] if self.reference else []
        names = [*first, *(name for name in BASELINES if name in others and name not in first)]
        return {THIS: self.candidate, **{name: others[name] for name in names}}

    @cached_property
    def tables(self) -> dict[str, list[Line]]:
        """All tables by title."""
        arguments = (THIS, self.reference, self.compared, SEED)
        return {title: comparison(*arguments, kind) for kind, title in _TITLES.items()} | {
            "NDCG@10 by how long people are known": by_history(*arguments),
            "What it costs": costs(self.compared),
        }

    def gains(self) -> dict[str, str]:
        """Return by baseline the gain of the version in the deciding metric."""
        baselines = {name: other for name, other in self.compared.items() if name in BASELINES}
        gained_by_baseline = {name: gain(self.candidate, other, METRIC, SEED) for name, other in baselines.items()}
        return {name: format_estimate(gained, "+") for name, gained in gained_by_baseline.items() if gained}

    def _compared_models(self) -> dict[str, Evaluation]:
        return {self._name(run): evaluation for run, evaluation in self.evaluations.items() if run != self.run_id}

    def _name(self, run: str) -> str:
        return f"champion ({self.kinds[run]})" if run == self.reference_run_id else self.kinds[run]


def compared_sentences(
    version: str, requested: Mapping[str, bool], champion: int | None = None, excluded: Iterable[str] = ()
) -> str:
    """Return sentences on the models that are compared, those that are trained first, and those left out.

    `requested` states for each kind whether it is trained already; `excluded` are other trained kinds.
    """
    parts = []
    for state, words in ((True, "trained already"), (False, "trained now")):
        if kinds := ", ".join(kind for kind, trained in requested.items() if trained is state):
            parts.append(f"{kinds} ({words})")
    parts += [] if champion is None else [f"the champion, version {champion}"]
    others = ", ".join(excluded)
    rest = f" Left out: {others}, trained but not named; --model names all that are compared." if others else ""
    return f"Compared on {version}: {'; '.join(parts)}.{rest}"


LONGEST: Final = 5000
"""Longest description that MLflow stores, in characters."""
TO_DECIDE: Final = "\n\n## To decide"
"""The start of the last part of a card, with links to the pages of this installation."""
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


def about(kind: str) -> str:
    """Return what a kind of model does: the first sentence of its module."""
    return (sys.modules[model_type(kind).__module__].__doc__ or "").partition("\n")[0]


def card(version: ReviewSummary, material: TrainingSummary, links: str, heads: Mapping[str, str]) -> str:
    """Return the card: verdict, description, metrics, groups, checks, limits, how to decide, links (Markdown).

    `heads` has what ranks for each policy of placements; empty for a model with a single way.
    """
    limits = weaknesses(version.candidate.summary, version.gate)
    parts = {
        "What it is": f"`{version.kind}`. {about(version.kind)} {_heads(heads)}{material.sentence}",
        "Figures": _figures(version),
        "Groups": " ".join([_groups(version.gate), *map(for_markdown, material.traits)]).strip(),
        "The gate": _checks(version.gate),
        "Limits": "\n".join(f"- {for_markdown(sentence)}" for sentence in limits),
    }
    body = "\n\n".join(f"## {title}\n\n{text}" for title, text in parts.items() if text)
    how = (
        f"`tailorbird decide {version.version} --approve --reason …` or `--reject`; or the deployment `decide` in "
        "Prefect; or here: the tag `review` with `approved` or `rejected`, or the alias `champion` on this version."
    )
    end = f"{TO_DECIDE}\n\n{how}\n\n{links}".rstrip()
    return _within(f"{for_markdown(version.verdict)}\n\n{body}", LONGEST - len(end) - _REASON) + end


def with_verdict(text: str, sentence: str, otherwise: str = "") -> str:
    """Return the card with the verdict of a person on top; without a card, `otherwise` follows."""
    _, mark, body = text.partition("\n## ")
    top = sentence.replace("\n#", "\n\\#")  # keeps a reviewer's heading from being read as the card's first
    top = top if len(top) <= _REASON else f"{top[: _REASON - 1]}…"
    return f"{top}\n{mark}{body or otherwise}"[:LONGEST]


def _heads(heads: Mapping[str, str]) -> str:
    named = ", ".join(f"`{policy}` by {head}" for policy, head in heads.items())
    return f"Placements are ranked by policy: {named}. " if named else ""


def _figures(version: ReviewSummary) -> str:
    names = [name for name in (THIS, version.reference) if name]
    head = ["", *names, "difference"] if version.reference else ["", *names]
    rows = [head]
    for kind, title_of_table in _TITLES.items():
        for line in (one for one in version.tables[title_of_table] if one.figure in (*_MAIN, kind + _MAIN[0])):
            title = line.meaning.partition(":")[0] + ITEM_KINDS[kind]
            difference = [format_estimate(line.difference, "+")] if version.reference else []
            rows.append([title, *(format_estimate(line.values.get(name)) for name in names), *difference])
    drawn = [f"| {f'{_GAP} | '.join(row)} |" for row in rows]
    table = "\n".join([drawn[0], f"|{' --- |' * len(head)}", *drawn[1:]])
    gains = "; ".join(f"over {name} {gain}" for name, gain in version.gains().items())
    return table + (f"\n\nGains in NDCG@10: {gains}." if gains else "") + _time(version.candidate.summary)


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


def _within(text: str, room: int) -> str:
    """Cut the text at the end of a line and add a note."""
    if len(text) <= room:
        return text
    return text[: text.rfind("\n", 0, room - len(_CUT))].rstrip() + _CUT


def weaknesses(summary: Mapping[str, float], gate: GateResult) -> list[str]:
    """Return sentences on NaN scores, users with little history, new and rare items, and groups, with figures."""
    sentences = [sentence_of(summary) for sentence_of in (_nan_scores, _cold, _newcomers, _news, _spread, _filled)]
    return [sentence for sentence in [*sentences, *_small_groups(gate)] if sentence] + [
        "Intervals cover the choice of users, not the choice of weeks. And users bought without seeing these "
        "lists, so no figure here measures their effect."
    ]


def _nan_scores(summary: Mapping[str, float]) -> str:
    nan_scores = summary.get("nan_scores", 0.0)
    return f"Broken: {nan_scores:,.0f} of its scores are NaN." if nan_scores else ""


def _cold(summary: Mapping[str, float]) -> str:
    users, figure = summary.get(f"{COLD}users", 0.0), summary.get(COLD + METRIC, float("nan"))
    if not users or not isfinite(figure):
        return f"There were no users with fewer than {COLD_BASKETS} baskets to measure it on."
    figures = f"NDCG@10 is {figure:.4f}, for all users {summary[METRIC]:.4f}"
    few = " So few users prove little." if users < 50 else ""
    return f"For the {users:,.0f} people with fewer than {COLD_BASKETS} baskets {figures}.{few}"


def _newcomers(summary: Mapping[str, float]) -> str:
    users, figure = summary.get(f"{NEWCOMER}users", 0.0), summary.get(NEWCOMER + METRIC, float("nan"))
    if not users or not isfinite(figure):
        return "Newcomers were not measured: there were none in the test weeks."
    return f"For the {users:,.0f} newcomers, who have no earlier purchase, NDCG@10 is {figure:.4f}."


def _news(summary: Mapping[str, float]) -> str:
    figure = summary.get(NEW + METRIC, float("nan"))
    if not isfinite(figure):
        return "No user bought a new item in the test weeks, so its accuracy on new items is not known."
    share = figure / summary[METRIC] if summary[METRIC] else float("nan")
    again = " Most of its hits are items bought before." if share < 0.5 else ""
    return f"On items that are new to the person NDCG@10 is {figure:.4f}.{again}"


def _spread(summary: Mapping[str, float]) -> str:
    unseen, rare = 1 - summary.get("coverage_at_10", float("nan")), summary.get("long_tail_at_10", float("nan"))
    if not isfinite(unseen) or not isfinite(rare):
        return ""
    return f"{unseen:.0%} of the catalogue is never shown; {rare:.0%} of the places go to its rarer four fifths."


def _filled(summary: Mapping[str, float]) -> str:
    share = summary.get("fallback_share", float("nan"))
    return f"{share:.1%} of the places are filled with best sellers." if share > 0 else ""


def _small_groups(gate: GateResult) -> list[str]:
    small = [group for group in gate.groups if not group.judged]
    if not gate.groups:
        return ["How single groups are served is not known."]
    return [f"{len(small)} groups are too small to be judged: {_some(small)}."] if small else []


def _some(groups: list[GroupResult]) -> str:
    names = [f"{group.trait} {group.value} ({group.users})" for group in groups]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
