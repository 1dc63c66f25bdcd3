"""The API as `tailorbird up` starts it, but with more patience for its stores: machines of tests are busy."""

import os
from functools import partial
from typing import Final

from serving.api.gate.workers import prepare, share_metrics_of
from serving.api.startup import __main__ as api

SECONDS: Final = 1.0


def main() -> None:
    prepare()  # before the import of the stores, as in `api.main`
    share_metrics_of(os.getpid())
    from serving.api.startup import installation
    from serving.stores.stores import Stores

    installation.Stores = partial(Stores, request_seconds=SECONDS, redis_seconds=SECONDS)  # type: ignore[misc, assignment]
    api.main()


if __name__ == "__main__":
    main()
