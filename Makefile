# Every target installs what it needs into .venv first, from the lock files; `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help install run examples test lint simulate stateful faults mutants bench screenshots docs lock

help:
	@echo 'make install      put Tallywire into .venv, from the hashed requirements.txt'
	@echo 'make run          serve http://127.0.0.1:3000 on SQLite, in development mode'
	@echo 'make examples     put what examples/ needs into .venv; their READMEs go on from there'
	@echo 'make test         all tests, on a real PostgreSQL and a real browser; ARGS="-k hold" for some'
	@echo 'make lint         ruff, mypy, tsc and the import rules'
	@echo 'make simulate     seeded faults in simulated time; SEEDS=1000 FROM=1, ARGS=--trace'
	@echo 'make stateful     random sequences of all operations against a model; EXAMPLES=300'
	@echo 'make faults       the long tests: servers, databases and connections killed under load'
	@echo 'make mutants      plant known bugs in a copy, and see the tests catch each'
	@echo 'make bench        measure'
	@echo 'make screenshots  take the pictures of the pages anew'
	@echo 'make docs         write what is made from the code: docs/asyncapi.json'
	@echo 'make lock         pin the newest allowed versions; ARGS=--upgrade for all of them'

install: $(VENV)/.runtime

run: install
	@exec $(BIN)/tallywire serve

examples: $(VENV)/.dev

# Four processes even on two cores: many tests wait for a server's timeout. What they compile is
# kept, whatever the environment says: each would compile every test anew.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.dev
	$(BIN)/python -m tests.services.chromium
	$(BIN)/python -m tests.services.debian
	$(BIN)/python -m pytest --numprocesses 4 --dist worksteal -m 'not long' $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd examples/fastapi_shop && ../../$(BIN)/mypy
	cd examples/django_shop && ../../$(BIN)/mypy
	cd examples && ../$(BIN)/mypy
	$(BIN)/node node_modules/.bin/tsc
	$(BIN)/node node_modules/.bin/tsc --project tests/client
	$(BIN)/lint-imports --no-logo --cache-dir .cache/import-linter

SEEDS ?= 1000
FROM ?= 1

simulate: $(VENV)/.dev
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --from $(FROM) $(ARGS)

EXAMPLES ?= 300

stateful: $(VENV)/.dev
	STATEFUL_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/stateful --timeout 0 $(ARGS)

faults: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m long --timeout 600 $(ARGS)

mutants: $(VENV)/.dev
	$(BIN)/python -m tests.mutants $(ARGS)

bench: $(VENV)/.dev
	$(BIN)/python -m bench $(ARGS)

screenshots: $(VENV)/.dev
	$(BIN)/python -m tests.services.chromium
	$(BIN)/python -m docs.screenshots

docs: $(VENV)/.dev
	$(BIN)/python -m docs.asyncapi

# setuptools is locked too: the package itself is built with it, not with one fetched unhashed.
COMPILE = echo 'setuptools>=77' | UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet \
	--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links $(ARGS)

lock: $(VENV)/.dev
	$(COMPILE) pyproject.toml - --output-file requirements.txt
	$(COMPILE) pyproject.toml - --extra dev --constraints requirements.txt --output-file requirements-dev.txt
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/npm $(if $(filter --upgrade,$(ARGS)),update,install) --package-lock-only --silent

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo 'Tallywire needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 ...' >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y python3-venv; \
		else \
			echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv" >&2; exit 2; \
		fi; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.created requirements.txt pyproject.toml
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# mypy does not follow an editable install that renames the folder, so a link gives it the name.
$(VENV)/.dev: $(VENV)/.runtime requirements-dev.txt package-lock.json
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-dev.txt
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/npm ci --silent
	@mkdir -p $(VENV)/typing && ln -sfn ../../server $(VENV)/typing/tallywire
	@touch $@
