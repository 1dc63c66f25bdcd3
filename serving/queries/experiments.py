"""Lists the experiments that were started."""

from sqlalchemy import Engine

from infra.database.engine import database_now
from infra.database.experiment_rows import all_experiments
from models.primitives.json_types import JsonObject


def experiment_rows(engine: Engine) -> list[JsonObject]:
    """Return a row for each experiment, the newest first."""
    with engine.connect() as connection:
        now = database_now(connection)
        return [experiment.row(now) for experiment in all_experiments(connection)]
