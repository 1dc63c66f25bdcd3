"""An installation with a small catalogue, and the API beside it."""

import pytest
from sqlalchemy import text

from infra.installation import Installation
from tests.tasks.ingest.inbox.api import Api


@pytest.fixture
def api(installation: Installation) -> Api:
    with installation.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO items (item_id, title, price, attributes, available, batch_id) "
                "VALUES ('cup', 'Cup', 3, '{}', true, 'b1'), ('pan', 'Pan', 9, '{}', true, 'b1')"
            )
        )
    return Api(installation)
