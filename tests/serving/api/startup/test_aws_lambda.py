"""The handler for AWS Lambda answers events from a real bundle, without packages that it does not need.

The documented event is that of "Create AWS Lambda proxy integrations for HTTP APIs" in the API Gateway Developer Guide
(docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html), without the client's
certificate. Paths arrive as real ones do: HTTP APIs decode `rawPath`, function URLs leave it as it was sent, and both
leave `rawQueryString` encoded.
"""

import base64
import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from models.errors import TailorbirdError
from models.ranking.two_stage import LogisticRegression, TwoStage
from serving.api.replies.document import RecommendationList
from serving.api.startup.aws_lambda import LambdaFunction
from tests.infra.golden_bundles import FOLDER, PUBLIC_KEY
from tests.models.trainable import TRAINABLE
from tests.serving.bundle_folders import write_bundle

USER = "/v1/users/u000/recommendations"
KEY: Final = "k" * 40
FUNCTION_URL: Final = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-east-1.on.aws"
DOCUMENTED: Final[dict[str, Any]] = {
    "version": "2.0",
    "routeKey": "$default",
    "rawPath": "/my/path",
    "rawQueryString": "parameter1=value1&parameter1=value2&parameter2=value",
    "cookies": ["cookie1", "cookie2"],
    "headers": {"header1": "value1", "header2": "value1,value2"},
    "queryStringParameters": {"parameter1": "value1,value2", "parameter2": "value"},
    "requestContext": {
        "accountId": "123456789012",
        "apiId": "api-id",
        "authorizer": {"jwt": {"claims": {"claim1": "value1", "claim2": "value2"}, "scopes": ["scope1", "scope2"]}},
        "domainName": "id.execute-api.us-east-1.amazonaws.com",
        "domainPrefix": "id",
        "http": {
            "method": "POST",
            "path": "/my/path",
            "protocol": "HTTP/1.1",
            "sourceIp": "192.0.2.1",
            "userAgent": "agent",
        },
        "requestId": "id",
        "routeKey": "$default",
        "stage": "$default",
        "time": "12/Mar/2020:19:03:58 +0000",
        "timeEpoch": 1583348638390,
    },
    "body": "Hello from Lambda",
    "pathParameters": {"parameter1": "value1"},
    "isBase64Encoded": False,
    "stageVariables": {"stageVariable1": "value1", "stageVariable2": "value2"},
}
PACKAGES = {
    *("annotated_doc", "annotated_types", "anyio", "cronsim", "cryptography", "dotenv", "faiss", "fastapi", "mangum"),
    *("numpy", "opentelemetry", "orjson", "prometheus_client", "pydantic", "pydantic_core", "pydantic_settings"),
    *("scipy", "starlette", "threadpoolctl", "typing_extensions", "typing_inspection", "xgboost"),
}
"""All that answers need; other packages are imported only if they happen to be installed."""
LARGE = {
    *("pyarrow", "pandas", "narwhals", "duckdb", "deltalake", "sklearn", "implicit", "lightfm", "matplotlib", "optuna"),
    *("sqlalchemy", "psycopg2", "asyncpg", "redis", "prefect", "mlflow", "great_expectations", "uvloop", "rich"),
    *("torch", "onnx"),
}
PROGRAM = """
import json, os, sys
from serving.api.startup import aws_lambda
for folder, *events in json.load(sys.stdin):
    os.environ["TAILORBIRD_BUNDLE"] = folder
    function = aws_lambda.LambdaFunction() if "handler" in vars(aws_lambda) else aws_lambda.handler
    for sent in events:
        answer = function(sent, None)
        assert answer["statusCode"] == 200, (folder, answer)
        assert json.loads(answer["body"])["items"], (folder, sent["rawPath"])
    function.close()
print(json.dumps([name for name in sys.modules]))
"""


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LambdaFunction]:
    """The opened handler. Its bundle is gone after the start, so that no event can load it again."""
    root = tmp_path_factory.mktemp("lambda")
    shutil.copytree(FOLDER / "format_3", root / "bundle")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAILORBIRD_VAR", str(root / "var"))
        patch.setenv("TAILORBIRD_SETTINGS", "none")
        patch.setenv("TAILORBIRD_SIGNING_PUBLIC_KEY", PUBLIC_KEY)
        patch.setenv("TAILORBIRD_SECRET_API_KEY", KEY)
        patch.setenv("TAILORBIRD_BUNDLE", str(root / "bundle"))
        opened = LambdaFunction()
        shutil.rmtree(root / "bundle")
        yield opened
        opened.close()
    assert not (root / "var").exists()


def answer_to(function: LambdaFunction, sent: dict[str, Any], status: int = 200) -> RecommendationList:
    answer = function(sent, None)
    assert (answer["statusCode"], answer["isBase64Encoded"]) == (status, False), answer
    return RecommendationList.model_validate_json(answer["body"])


def problem(function: LambdaFunction, sent: dict[str, Any]) -> tuple[int, str]:
    """Return status and detail of a refusal, which is readable JSON."""
    answer = function(sent, None)
    assert answer["headers"]["content-type"] == "application/problem+json"
    assert not answer["isBase64Encoded"]
    body = json.loads(answer["body"])
    assert body["status"] == answer["statusCode"]
    return body["status"], body["detail"]


def test_the_documented_event_is_refused_without_a_key_and_other_formats_are_named(
    function: LambdaFunction,
) -> None:
    assert problem(function, DOCUMENTED)[0] == 401
    assert problem(function, event(USER, key="x" * 40))[0] == 401
    assert problem(function, {**DOCUMENTED, "headers": {"x-api-key": KEY}})[0] == 404
    for sent in ({**DOCUMENTED, "version": "1.0"}, {"version": "2.0", "source": "aws.events"}, {}):
        with pytest.raises(TailorbirdError, match=r"payload format 2\.0"):
            function(sent, None)


def test_events_are_answered_by_the_model_of_the_start_and_their_queries_decoded_once(
    function: LambdaFunction,
) -> None:
    first, again = (answer_to(function, event(USER, "k=5")) for _ in range(2))
    assert [item.item_id for item in first.items] == [item.item_id for item in again.items]
    assert (len(first.items), first.source, first.degraded) == (5, "live", False)
    assert first.recommendation_id != again.recommendation_id
    plain = [item.item_id for item in answer_to(function, event(USER, "k=5")).items]
    query = f"k=4&exclude={plain[0]}&exclude=not%2Fsold%26known"
    assert [item.item_id for item in answer_to(function, event(USER, query)).items] == plain[1:]
    assert problem(function, event(USER, "k=many"))[0] == 422


@pytest.mark.parametrize(
    ("raw_path", "domain", "id_in_links"),
    [
        ("/v1/users/a/b/recommendations", "id.execute-api.us-east-1.amazonaws.com", "a%2Fb"),
        ("/v1/users/a/b/recommendations", "api.shop.example", "a%2Fb"),
        ("/v1/users/50% off/recommendations", "api.shop.example", "50%25%20off"),
        ("/v1/users/a%2Fb/recommendations", "api.shop.example", "a%252Fb"),
        ("/v1/users/ö/recommendations/recommendations", "api.shop.example", "%C3%B6%2Frecommendations"),
        ("/v1/users/a%2Fb/recommendations", FUNCTION_URL, "a%2Fb"),
        ("/v1/users/50%25%20off/recommendations", FUNCTION_URL, "50%25%20off"),
    ],
)
def test_an_id_may_hold_any_letter_whether_or_not_the_path_arrives_decoded(
    function: LambdaFunction, raw_path: str, domain: str, id_in_links: str
) -> None:
    answer = answer_to(function, event(raw_path, "k=2", domainName=domain))
    assert str(answer.next).startswith(f"/v1/users/{id_in_links}/recommendations?")


def test_the_name_of_a_stage_is_no_part_of_the_path(function: LambdaFunction) -> None:
    assert len(answer_to(function, event(f"/prod{USER}", "k=2", stage="prod")).items) == 2
    assert len(answer_to(function, event(USER, "k=2", stage="prod")).items) == 2
    assert problem(function, event(f"/prod{USER}", "k=2"))[0] == 404


@pytest.mark.parametrize("encoded", [False, True])
def test_bodies_arrive_as_text_or_in_base64(function: LambdaFunction, encoded: bool) -> None:
    body = json.dumps({"items": ["i30", "i03"], "user": "ö"})
    sent = with_body(event("/v1/rank", method="POST"), body, encoded=encoded)
    assert sorted(item.item_id for item in answer_to(function, sent).items) == ["i03", "i30"]


def test_refusals_are_problems_and_feedback_is_not_lost_in_silence(function: LambdaFunction) -> None:
    click = json.dumps({"kind": "click", "item_id": "i03", "user": "7"})
    post = event("/v1/feedback", method="POST")
    status, detail = problem(function, with_body(post, click))
    assert (status, "stores nothing" in detail) == (501, True)
    assert problem(function, with_body(post, "{"))[0] == 422
    assert problem(function, with_body(post, click, "text/plain"))[0] == 415
    assert problem(function, post)[0] == 415
    assert problem(function, event(USER, method="POST"))[0] == 405
    assert problem(function, event("/v1/users//recommendations"))[0] == 422


def test_head_is_answered_without_a_body_and_html_as_text(function: LambdaFunction) -> None:
    head = function(event("/readyz", method="HEAD"), None)
    assert (head["statusCode"], head["body"]) == (200, "")
    assert "content-length" not in head["headers"]
    slot = function(event("/v1/slots/home", "format=html&k=2"), None)
    assert (slot["statusCode"], slot["isBase64Encoded"]) == (200, False)
    assert slot["headers"]["content-type"].startswith("text/html")
    assert slot["body"].count("<li") == 2


def test_a_missing_key_bundle_or_package_is_named_at_the_start(
    tmp_path: Path, own_var: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAILORBIRD_SECRET_API_KEY", "short")
    with pytest.raises(TailorbirdError, match="TAILORBIRD_SECRET_API_KEY to a key of at least 32 letters"):
        LambdaFunction()
    monkeypatch.setenv("TAILORBIRD_SECRET_API_KEY", KEY)
    with pytest.raises(TailorbirdError, match="TAILORBIRD_BUNDLE to the folder of a bundle"):
        LambdaFunction()
    monkeypatch.setenv("TAILORBIRD_BUNDLE", str(tmp_path / "nothing"))
    with pytest.raises(TailorbirdError, match="TAILORBIRD_BUNDLE"):
        LambdaFunction()
    monkeypatch.setitem(sys.modules, "mangum", None)
    with pytest.raises(TailorbirdError, match=r"tailorbird\[serverless\]"):
        LambdaFunction()
    assert own_var.is_absolute()


def event(path: str, query: str = "", method: str = "GET", key: str = KEY, **context: Any) -> dict[str, Any]:
    """Return the example as a request for a path; `context` are entries of its request context."""
    changed = copy.deepcopy(DOCUMENTED)
    del changed["body"], changed["queryStringParameters"], changed["pathParameters"]
    changed |= {"rawPath": path, "rawQueryString": query}
    changed["headers"] = {"Authorization": f"Bearer {key}", "host": changed["requestContext"]["domainName"]}
    changed["requestContext"]["http"] |= {"method": method, "path": path}
    changed["requestContext"] |= context
    return changed


def with_body(sent: dict[str, Any], body: str, media_type: str = "application/json", encoded: bool = False) -> Any:
    """Return the event with a body; API Gateway encodes those that it does not take for text."""
    content = base64.b64encode(body.encode()).decode() if encoded else body
    headers = {**sent["headers"], "content-type": media_type, "content-length": str(len(body.encode()))}
    return {**sent, "headers": headers, "body": content, "isBase64Encoded": encoded}


def test_champions_of_every_kind_answer_without_large_packages_and_log_no_id(tmp_path: Path, own_var: Path) -> None:
    later = {TwoStage.kind, LogisticRegression.kind}  # slow to learn, so that the stored one stands for both
    for kind in {*TRAINABLE} - later:
        write_bundle(tmp_path / kind, kind)
    users = ("/v1/users/secret-77/recommendations", "/v1/users/u000/recommendations")
    events = [event(path, query) for path in users for query in ("k=5", "k=5&context=i02&context=i05")]
    events.append(event("/v1/items/i02/similar", "k=5"))
    folders = [FOLDER / "format_3", *(tmp_path / kind for kind in {*TRAINABLE} - later)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([[str(folder), *events] for folder in folders]),
        env={
            "PATH": os.environ["PATH"],
            "TAILORBIRD_SETTINGS": "none",
            "TAILORBIRD_VAR": str(own_var),
            "TAILORBIRD_SIGNING_PUBLIC_KEY": PUBLIC_KEY,
            "TAILORBIRD_SECRET_API_KEY": KEY,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert loaded >= PACKAGES
    assert loaded & LARGE == set()
    assert ("onnxruntime" in loaded) == ("sequence" in TRAINABLE)
    assert "secret-77" not in done.stderr
    assert KEY not in done.stderr
