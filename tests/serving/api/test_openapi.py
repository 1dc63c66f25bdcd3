"""The OpenAPI document: complete, with examples, true, and enough for a typed client."""

import importlib.util
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, get_args

import orjson
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from starlette.testclient import TestClient

from infra.configuration.placements import configured
from infra.configuration.settings import Settings
from models.primitives.json_types import JsonObject
from serving.api.assembly import build_app
from serving.api.state import Kind, kind_of
from tests.serving.api.fakes import new_key, state_of

OPEN = ("/livez", "/readyz")
PAGE = (Path(__file__).parents[3] / "docs" / "api.md").read_text()


@pytest.fixture(scope="module")
def client() -> TestClient:
    text, key = new_key("admin")
    return TestClient(build_app(state_of([key])), headers={"authorization": f"Bearer {text}"})


@pytest.fixture(scope="module")
def described(client: TestClient) -> JsonObject:
    document: JsonObject = client.get("/openapi.json").json()
    return document


def operations(described: JsonObject) -> list[tuple[str, str, Any]]:
    return [(path, name, one) for path, methods in described["paths"].items() for name, one in methods.items()]


def test_every_operation_has_texts_examples_errors_and_headers(described: JsonObject) -> None:
    validate(described)
    assert len(operations(described)) == 36
    for path, _, one in operations(described):
        assert one["summary"], path
        assert one["tags"], path
        assert bool(one["security"]) is (path not in OPEN), path
        assert all("example" in parameter and parameter["description"] for parameter in one["parameters"]), path
        expected = {"414", "431", "500"} | (set() if path in OPEN else {"401", "403", "429", "503"})
        expected |= {"408", "413", "415", "422"} if "requestBody" in one else set()
        assert expected <= one["responses"].keys(), path
        for status, answer in one["responses"].items():
            assert "X-Request-Id" in answer["headers"], path
            if status.startswith(("4", "5")) and path != "/readyz":
                example = answer["content"]["application/problem+json"]["example"]
                assert (str(example["status"]), bool(example["detail"])) == (status, True)
        if "429" in one["responses"]:
            assert "Retry-After" in one["responses"]["429"]["headers"]


ROWS = re.findall(
    r"^\| (any|`(?:subject|method) = \"\w+\"`) \| `([A-Z]+) (/\S+)` \| `(curl .*)` \|$", PAGE, re.MULTILINE
)
KINDS = {
    '`subject = "user"`': "user",
    '`method = "similarity"`': "similarity",
    '`method = "co_purchase"`': "co_purchase",
}


@pytest.mark.parametrize(("kind", "method", "path", "example"), ROWS, ids=[row[2] for row in ROWS])
def test_an_endpoint_of_the_page_answers_for_its_kind_of_placement_and_refuses_others(
    client: TestClient, described: JsonObject, kind: str, method: str, path: str, example: str
) -> None:
    assert method.lower() in described["paths"][path]
    words = shlex.split(example)
    assert words[:3] == ["curl", "-H", "Authorization: Bearer $KEY"]
    assert words[3:-2] == (["--json"] if method == "POST" else [])
    address, content = words[-1].removeprefix("$API"), words[-2] if method == "POST" else None
    assert re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), address.partition("?")[0])
    placements = {kind_of(one): name for name, one in configured(Settings()).items()}
    assert placements.keys() == {*KINDS.values()} == {*get_args(Kind)}
    [stated] = re.findall(r'(?:placement=|"placement": "|/slots/)([\w-]+)', example)
    asked = kind_of(configured(Settings())[stated])
    assert kind in ("any", next(text for text, known in KINDS.items() if known == asked))
    for other, name in placements.items():
        url, body = address.replace(stated, name), content and content.replace(stated, name)
        status = client.request(method, url, content=body, headers={"content-type": "application/json"}).status_code
        assert status == (200 if other == asked or kind == "any" else 422), (url, body)


def test_the_page_has_an_endpoint_for_every_kind_of_placement_and_every_path_that_takes_one(
    described: JsonObject,
) -> None:
    assert {row[0] for row in ROWS} == {*KINDS, "any"}
    taking = {
        path
        for path, _, one in operations(described)
        if path != "/v1/preview" and not path.startswith(("/v1/batch/", "/v1/rules", "/v1/placements"))
        if any(parameter["name"] == "placement" for parameter in one["parameters"])
        or {"RecommendationList"} & set(re.findall(r"schemas/(\w+)", str(one["responses"].get("200"))))
    }
    assert taking == {row[2] for row in ROWS}


def test_every_body_has_an_example_that_is_accepted(client: TestClient, described: JsonObject) -> None:
    for path, method, one in operations(described):
        if "requestBody" in one:
            name = one["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            (example,) = described["components"]["schemas"][name]["examples"]
            answer = client.request(method, path.replace("{user}", "1").replace("{item}", "2"), json=example)
            assert answer.status_code in (200, 202), (path, answer.text)


@settings(max_examples=3 * settings().max_examples, phases=[Phase.generate])  # `make faults` tries many
@given(data=st.data())
def test_no_request_that_the_document_allows_or_forbids_ends_in_a_defect(
    client: TestClient, data: st.DataObject
) -> None:
    # Imported here, for half a second that each process would spend before its first test.
    from schemathesis import GenerationMode
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    schema, headers = _schema(client), {"authorization": client.headers["authorization"]}
    one = data.draw(st.sampled_from([found.ok() for found in schema.get_all_operations()]))
    mode = data.draw(st.sampled_from(list(GenerationMode)))
    case = data.draw(one.as_strategy(generation_mode=mode))
    # Rules between fields, such as a highest price below the lowest, cannot be stated in a schema.
    answer = case.call(headers=headers)
    if answer.status_code != 414:  # schemathesis expects other refusals of long paths
        case.validate_response(answer, headers=headers, excluded_checks=[positive_data_acceptance])


@cache
def _schema(client: TestClient) -> Any:
    import schemathesis

    return schemathesis.openapi.from_asgi(
        "/openapi.json", client.app, headers={"authorization": client.headers["authorization"]}
    )


def test_a_typed_client_is_generated_and_used(client: TestClient, described: JsonObject, tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_bytes(orjson.dumps(described))
    command = [sys.executable, "-m", "datamodel_code_generator", "--input", "openapi.json", "--output", "client.py"]
    more = ["--input-file-type", "openapi", "--output-model-type", "pydantic_v2.BaseModel", "--disable-timestamp"]
    subprocess.run([*command, *more], check=True, cwd=tmp_path)
    made = importlib.util.spec_from_file_location("generated_client", tmp_path / "client.py")
    assert made
    assert made.loader
    typed = importlib.util.module_from_spec(made)
    sys.modules["generated_client"] = typed
    made.loader.exec_module(typed)

    def post(path: str, body: Any) -> bytes:
        content, headers = body.model_dump_json(exclude_unset=True), {"content-type": "application/json"}
        return client.post(path, content=content, headers=headers).content

    answer = post("/v1/baskets/goes-with", typed.Basket(items=["995242"], user="1", k=3))
    found = typed.RecommendationList.model_validate_json(answer)
    assert [item.rank for item in found.items] == [1, 2, 3]
    about = {"item_id": found.items[0].item_id, "recommendation_id": found.recommendation_id}
    stored = post("/v1/feedback", typed.FeedbackBody(kind="click", user="1", **about))
    assert typed.Accepted.model_validate_json(stored).status == "stored"
    rules = typed.RulesBody(hides=[typed.HideBody(item="1082185")])
    answer = post("/v1/preview", typed.PreviewRequest(placement="home", user="1", k=2, rules=rules))
    assert len(typed.PreviewedLists.model_validate_json(answer).edited.items) == 2
    ledger = typed.LedgerPage.model_validate_json(client.get("/v1/ledger?k=2").content)
    assert [len(ledger.batches), ledger.next] == [2, "/v1/ledger?k=2&offset=2"]
    refused = client.get("/v1/popular?k=0")
    assert typed.ProblemDocument.model_validate_json(refused.content).faults[0].place == "k"
