"""The tables of the serving API."""

from infra.database.schema.monitoring_schema import metadata as metadata
