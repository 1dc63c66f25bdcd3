"""A folder of its own for each test of settings."""

from tests.infra.configuration.conftest import folder as folder
