"""The OpenAPI document: complete, with examples, true, and enough for a typed client."""

import asyncio
import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from starlette.types import ASGIApp

from models.primitives.json_types import JsonObject
from serving.api.assembly import build_app
from tests.serving.api.fakes import new_key, state_of

OPEN = ("/livez", "/readyz")


@pytest.fixture(scope="module")
def served() -> tuple[ASGIApp, dict[str, str]]:
    text, key = new_key("admin")
    return build_app(state_of([key])), {"Authorization": f"Bearer {text}"}


def document(served: tuple[ASGIApp, dict[str, str]]) -> JsonObject:
    app, headers = served
    answer: JsonObject = {}

    async def read() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
            answer.update((await client.get("/openapi.json", headers=headers)).json())

    asyncio.run(read())
    return answer


def operations(described: JsonObject) -> list[tuple[str, str, Any]]:
    return [(path, name, one) for path, methods in described["paths"].items() for name, one in methods.items()]


def test_every_operation_has_texts_examples_errors_and_headers(served: tuple[ASGIApp, dict[str, str]]) -> None:
    described = document(served)
    validate(described)
    assert len(operations(described)) == 32
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


def test_every_body_has_an_example_that_is_accepted(served: tuple[ASGIApp, dict[str, str]]) -> None:
    app, headers = served
    described = document(served)
    schemas = described["components"]["schemas"]

    async def send() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://shop") as client:
            for path, method, one in operations(described):
                if "requestBody" not in one:
                    continue
                name = one["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
                (example,) = schemas[name]["examples"]
                place = path.replace("{user}", "1").replace("{item}", "2")
                answer = await client.request(method, place, json=example, headers=headers)
                assert answer.status_code in (200, 202), (path, answer.text)

    asyncio.run(send())


@settings(max_examples=3 * settings().max_examples, phases=[Phase.generate])  # `make faults` tries many
@given(data=st.data())
def test_no_request_that_the_document_allows_or_forbids_ends_in_a_defect(
    served: tuple[ASGIApp, dict[str, str]], data: st.DataObject
) -> None:
    # Imported here, for half a second that each process would spend before its first test.
    from schemathesis import GenerationMode
    from schemathesis.specs.openapi.checks import positive_data_acceptance

    schema = _schema(served)
    one = data.draw(st.sampled_from([found.ok() for found in schema.get_all_operations()]))
    mode = data.draw(st.sampled_from(list(GenerationMode)))
    case = data.draw(one.as_strategy(generation_mode=mode))
    # Rules between fields, such as a highest price below the lowest, cannot be stated in a schema.
    answer = case.call(headers=served[1])
    if answer.status_code != 414:  # schemathesis expects other refusals of long paths
        case.validate_response(answer, headers=served[1], excluded_checks=[positive_data_acceptance])


_SCHEMAS: dict[int, Any] = {}


def _schema(served: tuple[ASGIApp, dict[str, str]]) -> Any:
    app, headers = served
    if id(app) not in _SCHEMAS:
        import schemathesis

        _SCHEMAS[id(app)] = schemathesis.openapi.from_asgi("/openapi.json", app, headers=headers)
    return _SCHEMAS[id(app)]


def test_a_typed_client_is_generated_and_used(served: tuple[ASGIApp, dict[str, str]], tmp_path: Path) -> None:
    (tmp_path / "openapi.json").write_bytes(orjson.dumps(document(served)))
    command = [sys.executable, "-m", "datamodel_code_generator", "--input", "openapi.json", "--output", "client.py"]
    more = ["--input-file-type", "openapi", "--output-model-type", "pydantic_v2.BaseModel", "--disable-timestamp"]
    subprocess.run([*command, *more], check=True, cwd=tmp_path)
    made = importlib.util.spec_from_file_location("generated_client", tmp_path / "client.py")
    assert made
    assert made.loader
    client = importlib.util.module_from_spec(made)
    sys.modules["generated_client"] = client
    made.loader.exec_module(client)
    app, headers = served

    async def use() -> None:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://shop", headers=headers
        ) as session:
            basket = client.Basket(items=["995242"], user="1", k=3)
            answer = await session.post("/v1/baskets/goes-with", content=basket.model_dump_json(exclude_unset=True),
                                        headers={"content-type": "application/json"})  # fmt: skip
            found = client.RecommendationList.model_validate_json(answer.content)
            assert [item.rank for item in found.items] == [1, 2, 3]
            act = client.FeedbackBody(kind="click", item_id=found.items[0].item_id, user="1",
                                      recommendation_id=found.recommendation_id)  # fmt: skip
            stored = await session.post("/v1/feedback", content=act.model_dump_json(exclude_unset=True),
                                        headers={"content-type": "application/json"})  # fmt: skip
            assert client.Accepted.model_validate_json(stored.content).status == "stored"
            rules = client.RulesBody(hides=[client.HideBody(item="1082185")])
            wanted = client.PreviewRequest(placement="home", user="1", k=2, rules=rules)
            answer = await session.post("/v1/preview", content=wanted.model_dump_json(exclude_unset=True),
                                        headers={"content-type": "application/json"})  # fmt: skip
            assert len(client.PreviewedLists.model_validate_json(answer.content).edited.items) == 2
            ledger = client.LedgerPage.model_validate_json((await session.get("/v1/ledger?k=2")).content)
            assert [len(ledger.batches), ledger.next] == [2, "/v1/ledger?k=2&offset=2"]
            refused = await session.get("/v1/popular?k=0")
            assert client.ProblemDocument.model_validate_json(refused.content).faults[0].place == "k"

    asyncio.run(use())
