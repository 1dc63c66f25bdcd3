"""Counts how the answers of each variant were served, for the guardrails."""

from collections import Counter, defaultdict
from math import inf
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import text

from infra.database.experiment_rows import StartedExperiment
from infra.installation import Installation
from models.experiments.definition import own_placement
from models.experiments.guardrails import Service
from models.lists.rules.placement_config import BEST_SELLERS
from tasks.monitoring.serving_metrics import addresses, fetched

_ANSWERS: Final = text("""
    SELECT split_part(variant, '/', 2) AS variant, count(*) AS answers,
        count(*) FILTER (WHERE source IN ('last_good', 'segment', 'popular')) AS fallbacks
    FROM served_answers WHERE starts_with(variant, :name || '/') GROUP BY 1""")
_COVERAGE: Final = text("""
    SELECT placements.placement, (summary ->> 'coverage')::float8 AS coverage
    FROM placements JOIN recommendation_batches USING (batch_id)""")
_SECONDS: Final = "tailorbird_variant_duration_seconds"
_SHARE: Final = 0.95


def services_of(installation: Installation, experiment: StartedExperiment) -> dict[str, Service]:
    """Return how each variant was served so far. Servers that cannot be reached are left out."""
    with installation.engine.connect() as connection:
        rows = {row.variant: row for row in connection.execute(_ANSWERS, {"name": experiment.name})}
        coverage = {row.placement: row.coverage for row in connection.execute(_COVERAGE)}
    within, failed = _measured(installation)
    found: dict[str, Service] = {}
    for variant in experiment.variants:
        name, row = f"{experiment.name}/{variant}", rows.get(variant)
        answers, fallbacks = (row.answers, row.fallbacks) if row else (0, 0)
        own = {
            own_placement(placement, experiment.name, variant) if variant in experiment.changed else placement
            for placement in experiment.placements
        }
        simple = any(experiment.served[one].model in BEST_SELLERS for one in own if one in experiment.served)
        shown = [coverage[one] for one in own if coverage.get(one) is not None]
        found[variant] = Service(
            answers,
            0 if simple else fallbacks,
            failed[name],
            _slowest(within[name]),
            None if simple or not shown else min(shown),
        )
    return found


def _measured(installation: Installation) -> tuple[dict[str, Counter[float]], Counter[str]]:
    """Return by variant the answers within each bound of seconds, and those that failed."""
    within: dict[str, Counter[float]] = defaultdict(Counter)
    failed: Counter[str] = Counter()
    for address in addresses(installation):
        try:
            families = list(text_string_to_metric_families(fetched(installation.settings, address)))
        except OSError:
            continue
        for sample in (sample for family in families for sample in family.samples):
            if sample.name == f"{_SECONDS}_bucket" and sample.labels["outcome"] == "answered":
                within[sample.labels["variant"]][float(sample.labels["le"])] += int(sample.value)
            elif sample.name == f"{_SECONDS}_count" and sample.labels["outcome"] == "failed":
                failed[sample.labels["variant"]] += int(sample.value)
    return within, failed


def _slowest(within: Counter[float]) -> float | None:
    """Return the bound that 95 of 100 answers were within."""
    total = within[inf]
    return next((bound for bound in sorted(within) if within[bound] >= _SHARE * total), None) if total else None
