"""Import FastAPI in two thirds of its time: its models of OpenAPI documents are built with the first document."""


def import_fastapi() -> None:
    """Import FastAPI; call it in the only thread of a process, before anything else imports FastAPI."""
    from pydantic import BaseModel

    BaseModel.model_config["defer_build"] = True
    try:
        import fastapi  # noqa: F401
    finally:
        del BaseModel.model_config["defer_build"]
