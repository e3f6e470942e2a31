# Burger Stack. `make demo` shows it, `make test` proves it; the rest is below, each with its line of help.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := check
.PHONY: help setup demo up down test cluster cluster-down demo-cluster demo-argo test-cluster argo-conformance lint check format bench torture docs messages lock clean

PYTHON ?= python3
BIN := .venv/bin
APPROVE ?= ask
KEEP ?= 0
export APPROVE KEEP

help: ## What there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

setup: .venv/.ready ## Install everything into .venv; `burger` is then .venv/bin/burger

.venv/.ready: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "This machine lacks Python 3.11 or later ($(PYTHON)): apt-get install python3"; exit 1; }
	@$(PYTHON) .ci/setup.py

.venv/.cluster: requirements.cluster.lock .venv/.ready
	@$(PYTHON) .ci/setup.py requirements.cluster.lock .cluster

demo: setup ## The main job: a push on its way to production (APPROVE=auto answers the gates, KEEP=1 leaves it serving)
	@$(BIN)/python -m portal.demo demo

up: setup ## Start the portal with the demo's organisation; Ctrl-C stops it
	@$(BIN)/python -m portal.demo up

down: setup ## Stop what `make up` or `make demo KEEP=1` left serving
	@$(BIN)/python -m portal.demo down

check: lint test ## Lint and test

lint: setup ## Style, types and the pipeline file
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy portal pipelines teams ordering
	@$(BIN)/burger lint --teams dev,ops,platform pipeline.yaml
	@$(BIN)/burger lint --teams dev,ops,platform pipeline-cluster.yaml
	@$(BIN)/hadolint docker/*/Dockerfile
	@$(BIN)/python manage.py makemigrations --check --dry-run

test: setup ## Run the tests; says what it had to leave out
	@$(BIN)/pytest

cluster: .venv/.cluster ## Build and start a real engine, registry and two-node Kubernetes; warm when they run
	@$(BIN)/python -m tests.cluster up

cluster-down: setup ## Stop them and leave nothing but what was built
	@$(BIN)/python -m tests.cluster down

demo-cluster: cluster ## `make demo` on them: a canary taken back by its own verdict, another promoted, a roll back
	@$(BIN)/python -m tests.cluster.demo

demo-argo: cluster ## The same pipeline with `engine: argo`: each push is one Workflow, each stage a pod of its team's
	@$(BIN)/python -m tests.cluster.demo_argo

test-cluster: .venv/.cluster ## Run the tests against them, or against the cluster that KUBECONFIG names
	@[ -n "$${KUBECONFIG:-}" ] || $(BIN)/python -m tests.cluster up
	@$(BIN)/pytest -m cluster

argo-conformance: .venv/.cluster ## Run Argo's own examples on them, with and without the portal, and write docs/argo-conformance.md
	@$(BIN)/python -m tests.cluster up
	@BURGER_TORTURE=1 BURGER_CONFORMANCE=tests/engines/argo/conformance.json $(BIN)/pytest tests/cluster/test_argo_conformance.py
	@$(BIN)/python -m tests.engines.argo.conformance

format: setup ## Let the tools format what they can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup ## Measure against floors in the same run; writes var/bench.json
	@$(BIN)/python -m tests.bench

torture: setup ## The tests that kill, flood and race, at full count; on a cluster too where one is up
	@BURGER_TORTURE=1 $(BIN)/pytest -m torture

docs: setup ## Write the generated pages of docs/ anew
	@$(BIN)/python -m tests.docs.generate

messages: setup ## Bring the shop's catalogues of translations up to date, and say what is not translated yet
	@$(BIN)/python -m tests.ordering.messages

lock: ## Resolve the dependencies anew
	@uv pip compile -q pyproject.toml --group dev --universal -p 3.11 --generate-hashes --no-emit-index-url --no-header -o requirements.lock
	@uv pip compile -q pyproject.toml --group dev --group cluster-tests --extra cluster --universal -p 3.11 --generate-hashes --no-emit-index-url --no-header -c requirements.lock -o requirements.cluster.lock
	@uv pip compile -q pyproject.toml --extra cluster --universal -p 3.11 --generate-hashes --no-emit-index-url --no-header -c requirements.lock -o docker/portal/requirements.lock
	@uv pip compile -q --group shop --universal -p 3.11 --generate-hashes --no-emit-index-url --no-header -o docker/backend/requirements.lock
	@uv pip compile -q --group shop-postgresql --universal -p 3.11 --generate-hashes --no-emit-index-url --no-header -o docker/backend/postgresql.lock
	@uv pip compile -q --group runner --universal -p 3.11 --generate-hashes --no-emit-index-url --no-header -c requirements.lock -o docker/runner/requirements.lock

clean: ## Remove what the project made, state included
	@[ ! -d .venv ] || $(BIN)/python -m portal.demo down || true
	@[ ! -d var/cluster ] || $(BIN)/python -m tests.cluster clean
	@rm -rf var .venv build *.egg-info
