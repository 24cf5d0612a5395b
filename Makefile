# `make demo`, `make test`: from a fresh clone, nothing else is needed.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.complete
ARGS   ?=
# The last line of `make demo ARGS=--json` is its result, also when another make calls it.
MAKEFLAGS += --no-print-directory

.PHONY: demo test test-unit test-chaos chaos bench lint audit format lock clean

demo: $(STAMP)
	@exec $(BIN)/headrace demo $(ARGS)

# Most tests wait for others' processes: two at a time, each with a stack of its own. Faults want the machine for themselves.
test: $(STAMP)
	$(BIN)/pytest -n 2 --dist worksteal -m "not chaos" $(ARGS)
	$(BIN)/pytest -m chaos $(ARGS)

test-unit: $(STAMP)
	$(BIN)/pytest -m unit $(ARGS)

test-chaos: $(STAMP)
	$(BIN)/pytest -m chaos $(ARGS)

# Half an hour: twelve seeds of 75 s of load and faults; each takes as long again to start, come to rest and end.
chaos: $(STAMP)
	@exec $(BIN)/headrace chaos --seeds 12 --seconds 75 --report chaos-report.json $(ARGS)

bench: $(STAMP)
	@exec $(BIN)/headrace bench $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

# Known vulnerabilities of the locked packages.
audit: $(STAMP)
	@PYTHON=$(PYTHON) .ci/audit

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Needs `uv`, which writes hashes and neither an index address nor a local path.
lock:
	env -u PIP_FIND_LINKS uv pip compile --generate-hashes --no-header --universal --python-version 3.11 \
	    --all-extras pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .headrace

# The stamp is made last: an environment whose making was cut short has none, and is made anew.
$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Headrace needs Python 3.11 or newer; name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	    { echo "This Python has no usable venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(STAMP)
