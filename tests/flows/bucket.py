"""A bucket on this machine that holds a copy of a lake."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import boto3
from moto.server import ThreadedMotoServer

from infra.services.http_client import request_json

_REGION: Final = "eu-west-1"
_LOGIN: Final = {"ACCESS_KEY_ID": "somebody", "SECRET_ACCESS_KEY": "s3cret-word", "REGION": _REGION}


@contextmanager
def bucket() -> Iterator[dict[str, str]]:
    """Serve the bucket `shop`; yield the variables of its address and login."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    where = {"ENDPOINT_URL": address, "ALLOW_HTTP": "true", "EC2_METADATA_DISABLED": "true"}
    _client(address).create_bucket(Bucket="shop", CreateBucketConfiguration={"LocationConstraint": _REGION})
    yield {f"AWS_{name}": value for name, value in (_LOGIN | where).items()}
    request_json("POST", f"{address}/moto-api/reset", {})  # all servers of a process share their buckets
    server.stop()


def upload(lake: Path, address: str) -> None:
    """Copy a lake to s3://shop/lake."""
    client = _client(address)
    for path in lake.rglob("*"):
        if path.is_file():
            client.upload_file(str(path), "shop", f"lake/{path.relative_to(lake)}")


def _client(address: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=address,
        aws_access_key_id=_LOGIN["ACCESS_KEY_ID"],
        aws_secret_access_key=_LOGIN["SECRET_ACCESS_KEY"],
        region_name=_REGION,
    )
