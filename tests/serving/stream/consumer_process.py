"""A consumer in a process of its own, which now and then kills itself between a commit and its acknowledgement."""

import os
import random
import signal
import sys

from infra.configuration.settings import load
from serving.stream import rabbit
from serving.stream.consumer import ConsumerConfig, run

_ACKNOWLEDGE = rabbit._acknowledge


def main() -> None:
    url, queue, share, seed = sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]
    chance = random.Random(seed)  # noqa: S311

    async def acknowledge(message: rabbit.RabbitMessage) -> None:
        if chance.random() < share:
            os.kill(os.getpid(), signal.SIGKILL)
        await _ACKNOWLEDGE(message)

    rabbit._acknowledge = acknowledge
    run(load(), ConsumerConfig(url, queue, "bus"))


if __name__ == "__main__":
    main()
