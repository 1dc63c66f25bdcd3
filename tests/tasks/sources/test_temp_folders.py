import os
import signal
import subprocess
import sys
from pathlib import Path

from tasks.sources.temp_folders import scratch

HOLDS = """
import sys, time
from pathlib import Path
from tasks.sources.temp_folders import scratch
with scratch(Path(sys.argv[1])) as room:
    (room / "file").write_text("half")
    print(room, flush=True)
    time.sleep(60)
"""


def test_the_room_of_a_killed_process_is_given_back_by_the_next_and_that_of_a_living_one_kept(tmp_path: Path) -> None:
    holders = [
        subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        rooms = [Path(holder.stdout.readline().strip()) for holder in holders if holder.stdout]
        os.kill(holders[0].pid, signal.SIGKILL)
        holders[0].wait()
        with scratch(tmp_path) as own:
            assert {rooms[1], own} == set(tmp_path.iterdir())
        assert [rooms[1]] == list(tmp_path.iterdir())
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
