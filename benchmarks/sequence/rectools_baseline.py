"""RecTools' SASRec, run by `benchmarks.sequence` where it is installed: a file of events, the wanted NDCG@10, patience.

The file has the events in order, and the item that each user takes next. Training goes on, epoch by epoch, until the
NDCG@10 of these items over the whole catalogue is reached, or has not risen for so many epochs. Settings are those of
Tailorbird's model.
"""

import json
import logging
import sys
import time

import numpy as np
import pandas as pd


def main() -> None:
    """Print the processor seconds of training and the NDCG@10 after each epoch as JSON."""
    import torch
    from pytorch_lightning import Trainer
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    stored = np.load(sys.argv[1])
    wanted, patience = float(sys.argv[2]), int(sys.argv[3])
    settings = json.loads(sys.argv[4])
    rows = pd.DataFrame({Columns.User: stored["user"], Columns.Item: stored["item"], Columns.Weight: 1.0})
    rows[Columns.Datetime] = pd.Timestamp("2017-01-01") + pd.to_timedelta(np.arange(len(rows)), unit="s")
    dataset = Dataset.construct(rows)
    target = pd.Series(stored["next_item"], index=stored["next_user"])

    def trainer() -> Trainer:
        return Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip

    torch.manual_seed(int(settings.pop("seed")))
    model = SASRecModel(**settings, loss="softmax", get_trainer_func=trainer, verbose=0)
    curve: list[tuple[float, float]] = []
    spent, best = 0.0, 0
    while len(curve) - best < patience:
        began = time.process_time()
        model.fit_partial(dataset, min_epochs=1, max_epochs=1)
        spent += time.process_time() - began
        lists = model.recommend(users=target.index.to_numpy(), dataset=dataset, k=10, filter_viewed=True)
        right = lists[lists[Columns.Item].to_numpy() == target.loc[lists[Columns.User]].to_numpy()]
        ndcg = float((1 / np.log2(1 + right[Columns.Rank])).sum() / len(target))
        curve.append((spent, ndcg))
        best = max(range(len(curve)), key=lambda epoch: curve[epoch][1]) + 1
        print(f"epoch {len(curve)}: NDCG@10 {ndcg:.4f} after {spent:.1f} s", file=sys.stderr, flush=True)
        if ndcg >= wanted:
            break
    print(json.dumps(curve))


if __name__ == "__main__":
    main()
