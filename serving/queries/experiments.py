"""Lists the experiments that were started, and writes the variants of their users for other programs."""

import json
import os
from pathlib import Path
from typing import Final

from sqlalchemy import Engine, text

from infra.database.engine import database_now
from infra.database.experiment_rows import all_experiments, experiment_named
from infra.private_files.permissions import PRIVATE
from models.primitives.json_types import JsonObject

_USERS: Final = text("""
    SELECT known.user_id, unit.variant, unit.first_at FROM experiment_units AS unit
    JOIN identity.users AS known ON known.user_key = unit.unit_key JOIN users ON users.user_key = unit.unit_key
    WHERE unit.experiment_id = :experiment AND users.consent
      AND NOT EXISTS (SELECT FROM suppressions WHERE suppressions.user_key = unit.unit_key)
    ORDER BY known.user_id""")


def experiment_rows(engine: Engine) -> list[JsonObject]:
    """Return a row for each experiment, the newest first."""
    with engine.connect() as connection:
        now = database_now(connection)
        return [experiment.row(now) for experiment in all_experiments(connection)]


def export_views(engine: Engine, name: str, file: Path) -> JsonObject:
    """Write a call `Experiment Viewed` of Segment for each user of an experiment, one per line; return the counts.

    The engine's role has to be `operator`. Only its owner can read the file. Raises ExperimentError.
    """
    with engine.connect() as connection:
        experiment = experiment_named(connection, name)
        rows = connection.execute(_USERS, {"experiment": experiment.experiment_id}).all()
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666 & ~PRIVATE), "w") as written:
        for row in rows:
            about = {"experiment_name": name, "variation_name": row.variant}
            call = {"type": "track", "event": "Experiment Viewed", "userId": row.user_id, "properties": about}
            call |= {"timestamp": row.first_at.isoformat(), "messageId": f"experiment-{name}-{row.user_id}"}
            written.write(json.dumps(call, ensure_ascii=False) + "\n")
    return {"file": str(file), "users": len(rows)}
