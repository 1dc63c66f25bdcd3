"""Measures the cold start of a package: a new process with nothing but the package, until its first answer."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.lambda_package.package import BUNDLE

_KEY: Final = "k" * 32
_HANDLER: Final = "serving.api.startup.aws_lambda"
_PROBE: Final = """
import importlib, json, resource, sys, time
answer = importlib.import_module(sys.argv[1]).handler
event = json.load(sys.stdin)
first = answer(event, None)
used = time.process_time()
print(json.dumps([first["statusCode"], used]), flush=True)
seconds = []
for _ in range(50):
    began = time.perf_counter()
    answer(event, None)
    seconds.append(time.perf_counter() - began)
print(json.dumps([sorted(seconds)[25], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))
"""
_EVENT: Final = {
    "version": "2.0",
    "rawPath": "/v1/users/nobody/recommendations",
    "rawQueryString": "k=10",
    "headers": {"x-api-key": _KEY},
    "requestContext": {
        "domainName": "id.execute-api.us-east-1.amazonaws.com",
        "http": {"method": "GET", "path": "/v1/users/nobody/recommendations", "sourceIp": "192.0.2.1"},
        "stage": "$default",
    },
    "isBase64Encoded": False,
}


class ColdStart(NamedTuple):
    """One process."""

    seconds: float
    """From the start of the process to its first answer."""
    cpu_seconds: float
    answer_seconds: float
    """The median of fifty later answers."""
    peak_mb: float


def measure(target: Path, public_key: str) -> ColdStart:
    """Start the function of a package once. Raises RuntimeError if it does not answer."""
    environment = {
        "PATH": os.environ["PATH"],
        "TAILORBIRD_BUNDLE": str(target / BUNDLE),
        "TAILORBIRD_SETTINGS": "none",
        "TAILORBIRD_VAR": "/nonexistent",
        "TAILORBIRD_SECRET_API_KEY": _KEY,
        "TAILORBIRD_SIGNING_PUBLIC_KEY": public_key,
    }
    # Without `site`, Python finds its own library and the present folder alone.
    command = [sys.executable, "-S", "-c", _PROBE, _HANDLER]
    began = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=target, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(_EVENT).encode())
    process.stdin.close()
    first = process.stdout.readline()
    seconds = time.perf_counter() - began
    later, log = process.stdout.read(), process.stderr.read() if process.stderr else b""
    if process.wait() or json.loads(first)[0] != 200:
        raise RuntimeError(f"The function did not answer: {first.decode()}{log.decode()[-2000:]}")
    return ColdStart(seconds, json.loads(first)[1], *json.loads(later))
