import os
import subprocess
import sys

import pyarrow as pa
import pytest

from models.primitives.arrow_sql import query, texts

PRINT_NOON = """
import pyarrow as pa
import pyarrow.compute as pc
from models.primitives.arrow_sql import query

noon = pa.table({"moment": pa.array([1_483_272_000_000_000], pa.timestamp("us", tz="UTC"))})
result = query("SELECT moment, moment::varchar AS text FROM rows", rows=noon)
print(result["text"][0], pc.strftime(result["moment"], "%H")[0])
"""


PRINT_THREADS = """
from models.primitives.arrow_sql import engine

print(engine().sql("SELECT current_setting('threads')").fetchall()[0][0])
"""


def test_a_statement_has_as_many_threads_as_the_environment_allows() -> None:
    command = [sys.executable, "-c", PRINT_THREADS]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"


def test_a_statement_sees_the_tables_by_the_names_given() -> None:
    rows, others = pa.table({"a": [1, 2]}), pa.table({"a": [2, 3]})
    assert query("SELECT a FROM rows JOIN others USING (a)", rows=rows, others=others)["a"].to_pylist() == [2]


def test_rows_keep_their_order_when_there_are_many() -> None:
    rows = pa.table({"a": range(500_000)})
    assert query("SELECT a + 1 AS b FROM rows", rows=rows)["b"].to_numpy().tolist() == list(range(1, 500_001))


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_a_time_is_the_same_text_wherever_the_machine_stands(zone: str) -> None:
    command = [sys.executable, "-c", PRINT_NOON]
    output = subprocess.run(command, env=os.environ | {"TZ": zone}, check=True, capture_output=True, text=True).stdout
    assert output == "2017-01-01 12:00:00+00 12\n"


def test_a_list_of_texts_survives_quotes() -> None:
    hostile = ["it's", 'a "quote"', "back\\slash", "$1", ""]
    assert query(f"SELECT unnest({texts(hostile)}) AS t")["t"].to_pylist() == hostile
