"""The code of the process that tries settings, run in this process."""

import json
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, fields
from io import StringIO
from typing import Any

from models.datasets.dataset import Dataset
from models.datasets.training_data import T
from tasks.datasets.load_dataset import open_dataset
from tasks.tuning import trial_child


@dataclass(frozen=True, eq=False)
class RecordingDataset(Dataset):
    """Says when something is worked out that several fits need."""

    answers: StringIO = field(kw_only=True)

    def once(self, key: Hashable, work: Callable[[], T], keep: bool = True) -> T:
        """As ever."""

        def messages() -> T:
            self.answers.write('"work"\n')
            return work()

        return super().once(key, messages, keep)


def test_work_that_all_settings_share_is_done_before_a_fit_is_timed(stage: Any) -> None:
    answers, opened = StringIO(), open_dataset(stage.manifest["version"])
    given = {one.name: getattr(opened, one.name) for one in fields(Dataset) if one.init}
    request = {"kind": "two_stage", "settings": {}, "seed": 7, "folds": 1, "fold": 0, "warm": True}
    trial_child._measure(RecordingDataset(**given, answers=answers), {}, request, answers)
    messages = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert messages[0] == "work"
    assert messages[-2:] == [trial_child.FITTING, trial_child.FITTED]
