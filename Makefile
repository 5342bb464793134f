# Every target works from a fresh clone: the Python environment makes and mends itself.
#   make up CLOCK=20 REPLICAS=2      make incident ID=downstream-errors      make up PYTHON=python3.13

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SIGNALBOX := $(BIN)/python -m stack
ID ?= downstream-errors

.DEFAULT_GOAL := help
.PHONY: help up down status test test-compose check generate incident lock clean venv

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: venv ## Start the whole stack (CLOCK=20 makes minutes seconds, REPLICAS=2, FORM=native or compose)
	@$(SIGNALBOX) up $(if $(CLOCK),--clock $(CLOCK)) $(if $(REPLICAS),--replicas $(REPLICAS)) $(if $(FORM),--form $(FORM))

down: ## Stop everything that `make up` started
	@if [ -x $(BIN)/python ]; then $(SIGNALBOX) down; else echo "Nothing was running."; fi

status: venv ## Show how every component is
	@$(SIGNALBOX) status

test: check ## Everything: `make check`, then the tests against the running stack
	$(BIN)/python -m pytest --numprocesses 2 -m processes tests/unit
	-@$(MAKE) --silent $(VENV)/pipeline/packages  # cfn-lint, for a test that says so when it cannot be had
	$(BIN)/python -m pytest -m "not controlplane" tests --ignore=tests/unit --ignore=tests/golden

test-compose: venv ## The acceptance tests against docker-compose.yml, on an engine (one is started if need be, as root)
	$(BIN)/python -m tests.compose $(TESTS)

check: venv ## Format, lint, types, generated files, architecture and unit tests: no servers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check --summary=none
	$(SIGNALBOX) slo generate --check
	$(BIN)/python -m pytest --numprocesses 2 -m "not processes" tests/unit tests/golden

generate: venv ## Write rules, dashboards and routes anew from slo/definitions
	$(SIGNALBOX) slo generate

incident: venv ## Reproduce one incident end to end (ID=downstream-errors)
	@$(SIGNALBOX) incident run $(ID)

bench-promises: venv ## Measure the promises about telemetry at full length (a quarter of an hour)
	$(BIN)/python -m bench.promises

COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11

lock: venv ## Resolve pyproject.toml anew into the lock files
	$(BIN)/python -m pip install --quiet uv
	$(COMPILE) --upgrade --extra native --extra command --extra dev pyproject.toml --output-file requirements.lock
	$(COMPILE) --upgrade pyproject.toml --output-file requirements.image.lock
	echo cyclonedx-bom | $(COMPILE) --upgrade --output-file requirements.sbom.lock -
	$(COMPILE) --upgrade --extra bench --constraint requirements.lock pyproject.toml --output-file requirements.bench.lock

clean: ## Stop the stack, then delete its data and the Python environment
	@if [ -x $(BIN)/python ]; then $(SIGNALBOX) down --purge; fi
	rm -rf $(VENV) $(VENV).lock .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: bench-slo-compile
bench-slo-compile: venv ## How long the compiler takes for 100, 1,000 and 10,000 SLOs (CPU time)
	$(BIN)/python -m bench.slo_compile

# Makes the Python environment when it is missing or not whole.
venv:
	@command -v $(PYTHON) >/dev/null || { echo "signalbox: $(PYTHON) is not there. Install Python 3.11 or later, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) stack/environment.py

# The packages that only benchmarks need, once, into the same environment.
$(VENV)/bench-packages: requirements.bench.lock | venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.bench.lock
	@touch $@

bench-telemetry: $(VENV)/bench-packages ## What telemetry costs: CPU time a request, ours against the stock wiring (needs the stack up)
	$(BIN)/python -m bench.telemetry

bench-slo: venv ## What evaluating SLO rules costs a Prometheus: ours against Sloth's on the same 30 days (about 10 minutes)
	nice -n 10 $(BIN)/python -m bench.slo_evaluation

bench-service: $(VENV)/bench-packages ## What the service carries, and against a plain one (20 minutes, SHORT=1: 5; needs the stack up)
	$(BIN)/python -m bench.service $(if $(SHORT),--short)

bench-kills: venv ## Promise 7: workers killed fifty times (needs the stack up; SHORT=1)
	SIGNALBOX_KILLS=$(if $(SHORT),6,50) $(BIN)/python -m pytest tests/acceptance/service/test_jobs.py -k killed

bench-restarts: venv ## Promise 8: every process replaced twenty times under load, and a deploy with a migration (needs the stack up; SHORT=1)
	SIGNALBOX_ROUNDS=$(if $(SHORT),2,20) $(BIN)/python -m pytest tests/acceptance/service/test_life.py -k "rolling or deploy"

bench-fuzz: venv ## Promise 14: API, payments and issuer asked at random, 14,000 times (needs the stack up; SHORT=1)
	$(BIN)/python -m bench.fuzz $(if $(SHORT),--cases 1000)

bench-idle: venv ## 10,000 idle connections, slow ones, malformed requests: does p99 stay? (needs the stack up; SHORT=1)
	$(BIN)/python -m bench.idle $(if $(SHORT),--connections 2000 --seconds 2 --turns 1)

bench-triage: venv ## What triage says of trouble that no incident makes (25 minutes, SHORT=1: 6; needs the stack up with CLOCK=20)
	$(BIN)/python -m bench.triage $(if $(SHORT),--first 4)

bench-memory: venv ## How much memory the idle stack needs, part by part (needs the stack up)
	$(BIN)/python -m bench.memory

.PHONY: bench-triage prove-scaling capacity
prove-scaling: $(VENV)/bench-packages ## Prove autoscaling on a real control plane (forty minutes, the first time an hour; SHORT=1)
	@$(BIN)/python -m bench.scaling $(if $(SHORT),--short)

capacity: venv ## Write docs/capacity.md anew from the results of the last measurements
	@$(BIN)/python -m bench.capacity

include deploy/pipeline/pipeline.mk
