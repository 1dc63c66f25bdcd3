"""States the load of a measurement, and saturates a server with it by wrk, from another process."""

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from models.errors import TailorbirdError

_LUA: Final = """
local requests, at = {}, 0
init = function()
  for line in io.lines("FILE") do requests[#requests + 1] = wrk.format("METHOD", line, HEADERS, BODY) end
end
request = function() at = at % #requests + 1; return requests[at] end
"""


class LoadError(TailorbirdError):
    """A tool is missing, or a server refused a part of the load."""


@dataclass(frozen=True)
class Load:
    """Requests that are sent in turn."""

    address: str
    paths: Sequence[str]
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str | None = None
    """The body of each request, which is a POST then."""
    connections: int = 32
    meant: bytes = b""
    """A part of the answers that are meant: an overloaded server gives others."""

    @property
    def method(self) -> str:
        """Return the method of all requests."""
        return "GET" if self.body is None else "POST"


def saturation(load: Load, seconds: int) -> float:
    """Return the answers per second of a server that always has requests waiting (wrk). Raises LoadError."""
    with tempfile.TemporaryDirectory() as folder:
        paths, script = Path(folder) / "paths", Path(folder) / "requests.lua"
        paths.write_text("\n".join(load.paths) + "\n")
        headers = (
            "{" + ", ".join(f"[{json.dumps(name)}]={json.dumps(text)}" for name, text in load.headers.items()) + "}"
        )
        values = {"FILE": str(paths), "METHOD": load.method, "HEADERS": headers, "BODY": json.dumps(load.body or "")}
        script.write_text(re.sub("FILE|METHOD|HEADERS|BODY", lambda match: values[match[0]], _LUA))
        arguments = f"-t1 -c{load.connections} -d{seconds}s --timeout 30s -s {script}".split()
        output = _run([_tool("wrk"), *arguments, load.address])
    if refused := re.search(r"Non-2xx or 3xx responses: \d+|Socket errors: .*", output):
        raise LoadError(f"{load.address} did not answer a part of the load: {refused[0]}.")
    return float(re.findall(r"Requests/sec:\s+([\d.]+)", output)[0])


def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise LoadError(f"{name} is not installed. On Debian: apt-get install wrk")
    return found


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise LoadError(f"{' '.join(command[:3])} failed: {done.stderr.strip()[-500:]}")
    return done.stdout
