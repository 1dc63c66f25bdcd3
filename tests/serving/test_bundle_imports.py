"""The packages that a server of a bundle alone imports: its size and its start depend on them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from models.ranking.two_stage import LogisticRegression, TwoStage
from tests.infra.golden_bundles import FOLDER, PUBLIC_KEY
from tests.models.trainable import TRAINABLE
from tests.serving.api.startup.lambda_events import KEY, event
from tests.serving.bundle_folders import write_bundle

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
