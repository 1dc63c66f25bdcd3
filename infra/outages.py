"""Says in a sentence which server went away, when an error comes from one that did. Imports none of their clients."""

_DATABASE = "The database went away or cannot be reached"
_SIGNS = {
    "sqlalchemy.exc.OperationalError": _DATABASE,
    "sqlalchemy.exc.InterfaceError": _DATABASE,
    # What is loaded with COPY goes past SQLAlchemy.
    "psycopg2.OperationalError": _DATABASE,
    "psycopg2.InterfaceError": _DATABASE,
    "httpx.TransportError": "Prefect cannot be reached",
    "mlflow.exceptions.MlflowException": "MLflow cannot be reached",
}
_AGAIN = "Nothing is lost: see `tailorbird status`, then run the command again."
_MLFLOW = "mlflow.exceptions.MlflowException"
_OPTUNA = "optuna.exceptions.StorageInternalError"
_NO_PREFECT = "Failed to reach API at "
"""What Prefect's own RuntimeError says when its first call fails."""
_NO_ANSWER = "urllib.error.URLError"
"""When Prefect is asked without its client; a refusal of it is another kind."""
_NO_TABLE = "psycopg2.errors.UndefinedTable"


def explain(error: BaseException) -> str | None:
    """What to tell a person about an outage; None for every other error, which is a defect and keeps its traceback."""
    names = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]
    if _named(getattr(error, "orig", None)) == _NO_TABLE:
        return "The database has no tables of Tailorbird yet: run `tailorbird up` once, which makes them."
    if _MLFLOW in names and "failed with exception" not in str(error):
        return None  # MLflow answered; what it answered is worth a traceback
    if _OPTUNA in names:  # around what its storage was told, which may be an outage or not
        return explain(error.__cause__) if error.__cause__ else None
    if names[0] == _NO_ANSWER:
        return f"Prefect cannot be reached ({getattr(error, 'reason', '')}). {_AGAIN}"
    if isinstance(error, RuntimeError) and _NO_PREFECT in str(error):
        return f"Prefect cannot be reached. {_AGAIN}"
    for name in names:
        if name in _SIGNS:
            first = str(getattr(error, "orig", error)).strip().splitlines()[:1]
            detail = f" ({first[0]})" if first else ""
            return f"{_SIGNS[name]}{detail}. {_AGAIN}"
    return None


def _named(error: object) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}"
