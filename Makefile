# Start with `make demo`: it creates .venv on first use and turns real shopping data into recommendations.
# PYTHON chooses the interpreter (3.11, 3.12 or 3.13); ARGS is passed to pytest and to `make lock`.
# WORKERS is the number of processes of `make test`: three if memory allows, because the tests of services wait.
PYTHON ?=
ARGS ?=
WORKERS ?= $(shell awk '/^MemAvailable/ {print ($$2 > 9000000) ? 3 : 2}' /proc/meminfo 2>/dev/null || echo 2)
# Byte code is kept: hundreds of processes import the same modules, and each would compile them again.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
READY := .venv/.ready

.DEFAULT_GOAL := help
.PHONY: help setup sequence demo test lint up down faults faults-short bench lock env clean

help:
	@echo "make setup   create .venv; demo, up, test, lint, faults and bench do it automatically"
	@echo "make sequence   install PyTorch too, which trains the sequence model; on Python 3.12 and 3.13 mostly with CUDA, 3 GB"
	@echo "make demo    set up and run everything on real shopping data"
	@echo "make up      start PostgreSQL, Prefect, MLflow and the worker; make down stops them"
	@echo "make test    run the tests          make lint   check style, types and import arrows"
	@echo "make faults  kill ingests, consumers, publishing, searches, retraining, promotions and PostgreSQL at any moment; stop, pause and"
	@echo "             fill what the API depends on, and send it ten times its traffic; fill disks (needs root),"
	@echo "             set clocks (needs Debian's package faketime), race decisions,"
	@echo "             and try many random examples instead of a few"
	@echo "make faults-short   a few minutes of the same, as CI runs it beside the tests"
	@echo "make bench   run all benchmarks     make lock   resolve requirements.lock again"
	@echo "make env     write an .env with new passwords for docker-compose.yml"
	@echo "make clean   remove .venv, builds and caches; ./var with its data stays"

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@PYTHON="$(PYTHON)" sh infra/deploy/setup.sh

# PyTorch is not in the lock: its builds differ by Python and by package index. pip leaves what is installed as it is.
sequence: $(READY)
	$(BIN)/python -m pip install --no-build-isolation --editable ".[sequence]"

demo: $(READY)
	@$(BIN)/tailorbird demo --approve

up down: $(READY)
	@$(BIN)/tailorbird $@

# The folders of kills and outages; their long forms are only in `make faults`.
FAULTS := tests/faults tests/serving/running
PARALLEL := -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=20

test: $(READY)
	$(BIN)/pytest $(PARALLEL) $(FAULTS:%=--ignore=%) $(ARGS)

faults-short: $(READY)
	$(BIN)/pytest $(PARALLEL) $(FAULTS) $(ARGS)

lint: $(READY)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# KILLS (of ingests), PUBLISH_KILLS and SEED select another storm; a failure names the seed of its round.
KILLS ?= 64
PUBLISH_KILLS ?= 200
SEED ?= 1
STORMS := tests/faults/storm

faults: export STORM_REPORT := .pytest_cache/storms.txt
faults: $(READY)
	@mkdir -p .pytest_cache && rm -f $(STORM_REPORT)
	$(BIN)/pytest $(STORMS)/test_ingest_storm.py -q -s --kills $(KILLS) --seed $(SEED) $(ARGS)
	$(BIN)/pytest $(STORMS)/test_publish_storm.py -q -s --kills $(PUBLISH_KILLS) --seed $(SEED) $(ARGS)
	$(BIN)/pytest $(STORMS)/test_disk_storm.py $(STORMS)/test_database_clock_storm.py -q -s -m "" --seed $(SEED) $(ARGS)
	$(BIN)/pytest $(STORMS)/running -q -s -m "" --seed $(SEED) $(ARGS)
	$(BIN)/pytest tests/faults/streams -q -s -m "" --seed $(SEED) $(ARGS)
	REVIEW_ROUNDS=100 $(BIN)/pytest tests/flows/test_review_races.py tests/flows/test_review.py tests/flows/test_demo.py \
		tests/faults/test_services.py -q -m "" $(ARGS)
	$(BIN)/pytest tests/flows/test_retrain_requests.py tests/tasks tests/serving/api -q -m faults $(ARGS)
	$(BIN)/pytest tests/serving/running -q -s -m "" $(ARGS)
	$(BIN)/pytest tests/fuzz tests/faults/test_hostile_files.py -q --hypothesis-profile many $(ARGS)
	$(BIN)/pytest tests --ignore tests/fuzz --ignore tests/faults -q --hypothesis-profile many -m hypothesis $(ARGS)
	@cat $(STORM_REPORT)

bench: $(READY)
	$(BIN)/python -m benchmarks.demo
	$(BIN)/python -m benchmarks.serve.start
	$(BIN)/python -m benchmarks.ingest
	$(BIN)/python -m benchmarks.score.features
	$(BIN)/python -m benchmarks.gate
	$(BIN)/python -m benchmarks.heads
	$(BIN)/python -m benchmarks.score
	$(BIN)/python -m benchmarks.drift
	$(BIN)/python -m benchmarks.foreign_shop
	$(BIN)/python -m benchmarks.stream
	$(BIN)/python -m benchmarks.privacy
	$(BIN)/python -m benchmarks.backup
	$(BIN)/python -m benchmarks.uplift
	$(BIN)/python -m benchmarks.uplift --simulation
	$(BIN)/python -m benchmarks.uplift --replay

# The lock has only names, versions and hashes: each machine configures its own package index.
# Versions stay unless pyproject.toml requires others; `make lock ARGS=--upgrade` takes the newest.
lock:
	@test -x $(BIN)/uv || $(MAKE) setup
	$(BIN)/uv pip compile pyproject.toml --quiet --universal --python-version 3.11 $(ARGS) \
		--extra demo --extra duckdb --extra serverless --extra stream --extra traces --group dev --group setup --generate-hashes \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links --output-file requirements.lock

env:
	@sh infra/deploy/containers/make-env.sh

clean:
	rm -rf .venv dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
