"""Lives the periods of a backtest under one policy: ingest, monitor, retrain if due, score, and keep the lists."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, Final

from infra.configuration.settings import Settings
from infra.private_files.folders import replace_file
from infra.private_files.permissions import private_files
from models.errors import TailorbirdError
from models.monitoring.backtest import Retraining
from models.monitoring.retraining_policies import Policy, is_due
from tasks.monitoring.backtest.child_installation import ChildInstallation
from tasks.monitoring.backtest.past_events import MAPPING
from tasks.monitoring.retraining.requests import REQUESTED, RUNNING

_OPEN: Final = f"SELECT max(request_id) FROM retrain_requests WHERE status IN ('{REQUESTED}', '{RUNNING}')"
_CHAMPIONS: Final = "SELECT count(*) FROM promotions"
_WAIT_S: Final = 2.0


class NoFirstModelError(TailorbirdError):
    """The first training made no champion, so that there are no lists to compare."""


@dataclass(frozen=True)
class Lived:
    """The periods of one policy."""

    lists: Sequence[Path]
    """A file for each period, in the form of `tailorbird export`."""
    retrainings: Sequence[Retraining]
    requests: Sequence[int]
    """The periods before which drift asked for a retraining."""


class _Journal:
    """The finished steps of a policy, by which a backtest that was stopped goes on."""

    END: Final = "end"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._done: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    @property
    def ended(self) -> bool:
        """Whether nothing of the policy is left to do."""
        return self.END in self._done

    def once(self, step: str, work: Callable[[], Any]) -> Any:
        """Return the result of a step, which is done if it is not yet, and must be JSON."""
        if step not in self._done:
            self._done[step] = work()
            replace_file(self._path, json.dumps(self._done).encode())
        return self._done[step]


def live_periods(
    settings: Settings,
    folder: Path,
    policy: str,
    days: Sequence[date],
    models: Sequence[str],
    placement: str,
    advance: Callable[[str], None],
) -> Lived:
    """Live the periods that begin on `days` (the last one is the end), with the files of `write_past` in `folder`.

    The first training comes before the first period. Raises NoFirstModelError if it makes no champion.
    """
    journal = _Journal(folder / f"{policy}.json")
    child = ChildInstallation(folder / policy, settings)
    lists, retrainings, requests = [], [], []
    trained = days[0]
    with private_files(), nullcontext() if journal.ended else child.running():
        for period, day in enumerate(days[:-1]):
            number = f"{period:03}"
            past = [str(folder / MAPPING), str(folder / number)]
            journal.once(f"{number} ingest", partial(_ingest, child, *past))
            watched = policy == Policy.DRIFT and period > 0
            requested = watched and journal.once(f"{number} monitor", partial(_asks, child))
            requests += [period] if requested else []
            if period == 0 or is_due(policy, (day - trained).days, requested):
                seconds, outcome = journal.once(f"{number} retrain", partial(_retrain, child, models))
                trained = day
                if period:
                    retrainings.append(Retraining(period, seconds, outcome))
                elif journal.once("champions", partial(child.query, _CHAMPIONS)) == "0":
                    raise NoFirstModelError(
                        f"The review of the first training, on what was known before {day}, did not promote a model "
                        f"({outcome}). Choose a later --from, or other models with --model."
                    )
            file = folder / f"{policy}-{number}.parquet"
            journal.once(f"{number} score", partial(_publish, child, placement, file))
            lists.append(file)
            advance(f"{policy}, {day}")
    journal.once(journal.END, child.delete)
    return Lived(lists, retrainings, requests)


def _ingest(child: ChildInstallation, *past: str) -> int:
    """Ingest the files of a period, and return how many there are."""
    return len(child.run("ingest", *past))


def _asks(child: ChildInstallation) -> bool:
    """Return whether drift asks for a retraining."""
    child.run("monitor")
    return bool(child.query(_OPEN))


def _retrain(child: ChildInstallation, models: Sequence[str]) -> tuple[float, str]:
    """Return the seconds of a retraining, and its outcome. It works on the open request, if there is one."""
    words = [word for kind in models for word in ("--model", kind)]
    while True:
        request = child.query(_OPEN)
        began = time.monotonic()
        result = child.run("retrain", "--no-search", *words, *(("--request", request) if request else ()))
        if result["outcome"] != RUNNING:
            return round(time.monotonic() - began, 1), result["outcome"]
        time.sleep(_WAIT_S)  # a run that was killed: its lease expires


def _publish(child: ChildInstallation, placement: str, file: Path) -> int:
    """Publish the lists of a placement, and return how many there are."""
    child.run("score", placement)
    return int(child.run("export", placement, "--to", str(file))["lists"])
