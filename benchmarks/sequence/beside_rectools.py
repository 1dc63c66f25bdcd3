"""Compares the training time of the sequence model with that of RecTools' SASRec, up to the same accuracy."""

import json
import os
import subprocess
import sys
from pathlib import Path
from time import process_time
from typing import Final

import numpy as np

from benchmarks.accuracy.splits import Split
from benchmarks.accuracy.tuning import figures
from benchmarks.results import FOLDER
from models.recommenders.sequence.config import Config
from models.recommenders.sequence.model import SequenceModel

_NEEDS: Final = ("rectools[torch]==0.19.0",)
_HOME: Final = FOLDER.absolute() / "rectools-sasrec"
_SCRIPT: Final = Path(__file__).with_name("rectools_baseline.py")


def beside_rectools(split: Split, config: Config, seed: int) -> dict[str, float]:
    """Return the processor seconds of both, and how many times as long RecTools takes to reach the same NDCG@10.

    Nothing is returned if RecTools cannot be installed. If its NDCG@10 stops rising below that, the figure is a lower
    bound, as its best NDCG@10 shows.
    """
    python = _environment()
    if python is None:
        return {}
    data = split.data
    began = process_time()
    model = SequenceModel.fit(data, config, seed)
    own = process_time() - began
    reached = figures(model, split)["ndcg_10"]
    target = split.targets.tocoo()
    file = _HOME / "events.npz"
    np.savez(file, user=data.user, item=data.item, next_user=target.row, next_item=target.col)
    settings = {
        "n_blocks": config.blocks, "n_heads": config.heads, "n_factors": config.dimensions,
        "dropout_rate": config.dropout, "session_max_len": config.length, "lr": config.learning_rate,
        "batch_size": config.batch, "seed": seed,
    }  # fmt: skip
    command = [str(python), str(_SCRIPT), str(file), str(reached), str(config.patience), json.dumps(settings)]
    alone = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=alone)
    curve = json.loads(done.stdout.splitlines()[-1])
    seconds = curve[-1][0]
    return {
        "own_train_s": own,
        "own_ndcg_10": reached,
        "rectools_train_s": seconds,
        "rectools_epochs": float(len(curve)),
        "rectools_best_ndcg_10": max(ndcg for _, ndcg in curve),
        "ratio_to_rectools": seconds / own,
    }


def _environment() -> Path | None:
    """Return the Python of an environment with RecTools; None if it cannot be installed."""
    python = _HOME / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", _HOME], check=True)
    installed = subprocess.run([python, "-m", "pip", "install", "--quiet", *_NEEDS], check=False)
    return None if installed.returncode else python
