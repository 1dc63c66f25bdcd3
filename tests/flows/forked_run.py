"""Stands for a run in the worker: asks `forked.py` to fork it, passes signals on, and ends as the run ends.

The worker starts this file for each run (`python -S -E forked_run.py NAME`), so it imports little.
"""

import json
import os
import signal
import socket
import sys


def main(name: str) -> None:
    """Run the flow run of this process's environment."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        server.connect(f"\0{name}")
        os.umask(mask := os.umask(0))
        request = {"arguments": None, "environment": dict(os.environ), "folder": os.getcwd(), "umask": mask}  # noqa: PTH109
        socket.send_fds(server, [json.dumps(request).encode()], [1, 2])
        pid = int(server.recv(16))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: os.kill(pid, number))
        code = int(server.recv(16) or 1)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(sys.argv[1])
