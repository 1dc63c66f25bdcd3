"""A consumer in a process of its own, which now and then kills itself between a commit and its acknowledgement."""

import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from infra.configuration.settings import load
from serving.stream.consumer import ConsumerConfig, run
from serving.stream.delivery import is_kafka


def main() -> None:
    url, queue, share, seed = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]
    chance = random.Random(seed)  # noqa: S311

    def deadly(acknowledge: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        async def acknowledge_or_die(*given: Any) -> None:
            if chance.random() < share:
                os.kill(os.getpid(), signal.SIGKILL)
            await acknowledge(*given)

        return acknowledge_or_die

    if is_kafka(url):
        from serving.stream import kafka
        from tests.serving.stream.kafka_broker import shorten_sessions

        shorten_sessions()
        kafka._commit = deadly(kafka._commit)  # type: ignore[assignment]
    else:
        from serving.stream import rabbit

        rabbit._acknowledge = deadly(rabbit._acknowledge)  # type: ignore[assignment]
    run(load(), ConsumerConfig(url, queue, "bus"))


if __name__ == "__main__":
    main()
