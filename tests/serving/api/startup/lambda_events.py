"""Events of API Gateway: its documented example of the payload format 2.0, and variations of it.

The example is that of "Create AWS Lambda proxy integrations for HTTP APIs" in the API Gateway Developer Guide
(docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html), without the client's
certificate. Paths arrive as real ones do: HTTP APIs decode `rawPath`, function URLs leave it as it was sent, and both
leave `rawQueryString` encoded.
"""

import base64
import copy
from typing import Any, Final

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
