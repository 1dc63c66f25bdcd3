"""A real HTTP server that speaks S3, on this machine."""

import os
from collections.abc import Callable, Iterator

import boto3
import pytest
from moto.server import ThreadedMotoServer

Put = Callable[..., str]


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Put]:
    """Puts objects into a bucket `shop`, the only one there; the environment says where and who."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    values = {"ENDPOINT_URL": s3_server, "ACCESS_KEY_ID": "somebody", "SECRET_ACCESS_KEY": "s3cret-word"}
    for name, word in {**values, "DEFAULT_REGION": "eu-west-1", "EC2_METADATA_DISABLED": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", word)
    client = boto3.client("s3")
    client.create_bucket(Bucket="shop", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})

    def put(key: str, content: bytes = b"{}\n") -> str:
        client.put_object(Bucket="shop", Key=key, Body=content)
        return f"s3://shop/{key}"

    yield put
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="shop"):
        for result in page.get("Contents", []):
            client.delete_object(Bucket="shop", Key=result["Key"])
    client.delete_bucket(Bucket="shop")
