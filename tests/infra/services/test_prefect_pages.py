"""Addresses of Prefect's pages."""

import pytest

from infra.services.endpoints import pages_root


@pytest.mark.parametrize(
    ("page", "begins"),
    [
        ("http://127.0.0.1:4200", "http://127.0.0.1:4200/v2"),
        ("https://shop.example/prefect/", "https://shop.example/prefect/v2"),
        ("https://shop.example/v2", "https://shop.example/v2"),
        ("https://app.prefect.cloud/account/a/workspace/b", "https://app.prefect.cloud/account/a/workspace/b"),
        ("https://prefect.cloud.example", "https://prefect.cloud.example/v2"),
    ],
)
def test_links_lead_to_the_pages_that_ask_for_the_password(page: str, begins: str) -> None:
    assert pages_root(page) == begins
