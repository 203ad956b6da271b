# Everything sets itself up: `make demo` and `make test` work on a bare Debian with Python 3.11.

# Where the two commands use Paddle 3.3: see docs/performance.md, "Which Paddle line".
VENV := .venv
VENV26 := .venv-paddle26
# What must hold on every Paddle line: numbers, pictures, and the whole command; not what never meets
# Paddle, such as readers of files.
ACROSS_LINES := tests/models tests/samplers tests/weights tests/convert tests/engine tests/test_pipeline.py \
                tests/text tests/scoring tests/translation tests/test_pictures.py tests/test_guidance.py \
                tests/test_mixed_tables.py tests/test_convergence.py tests/test_shortcuts.py tests/test_denoising.py \
                tests/test_tiling.py tests/test_end_to_end.py tests/test_demo_pictures.py --ignore=tests/weights/files

# A process for each core and one more, since tests of clusters mostly wait; they take tests from
# each other at the end.
SIDE_BY_SIDE := --numprocesses=$(shell echo $$(( $$(nproc) + 1 ))) --dist=worksteal

.PHONY: help env env-paddle26 programs demo test test-paddle33 test-paddle26 test-paddle26-full \
        crash-test lint format bench tables locks clean

help: ## this list
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 22

env: ## .venv from the lock (Paddle 3.3, CPU, with the development tools)
	@tools/setup_env.sh $(VENV) requirements/paddle33.lock

env-paddle26: ## .venv-paddle26, the same on Paddle 2.6.2
	@tools/setup_env.sh $(VENV26) requirements/paddle26.lock

programs: ## other software that tests use: Slurm for a cluster here, exiftool and exempi
	@tools/setup_programs.sh

demo: env ## the main job on the bundled checkpoint and table; prints the dataset folder
	$(VENV)/bin/python -m sdbatch prompts=shapes model=demo

test: lint test-paddle33 test-paddle26 ## lint, all tests on Paddle 3.3, the essential ones on 2.6

test-paddle33: env programs ## all tests on Paddle 3.3
	$(VENV)/bin/python -m pytest $(SIDE_BY_SIDE)

test-paddle26: env-paddle26 ## numbers, pictures and whole commands on Paddle 2.6.2
	$(VENV26)/bin/python -m pytest $(SIDE_BY_SIDE) $(ACROSS_LINES)

test-paddle26-full: env-paddle26 ## all tests on Paddle 2.6.2
	$(VENV26)/bin/python -m pytest $(SIDE_BY_SIDE)

crash-test: env ## kill a job at 200 random moments; the dataset must be that of an undisturbed run
	SDBATCH_KILLS=200 $(VENV)/bin/python -m pytest -s tests/test_crash.py

lint: env ## ruff: style and format
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: env ## ruff: format in place
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: env ## benchmarks that need nothing but this environment
	$(VENV)/bin/python benchmarks/demo_job.py
	$(VENV)/bin/python benchmarks/overhead.py --memory-rows 200000
	$(VENV)/bin/python benchmarks/workers.py
	$(VENV)/bin/python benchmarks/planning.py

tables: env ## prompts/*.parquet from their CSV files
	for table in shapes shapes_zh news_2026; do \
	    $(VENV)/bin/python -m sdbatch.prompts prompts/$$table.csv prompts/$$table.parquet || exit 1; \
	done

locks: ## resolve requirements/*.lock again (needs uv)
	for line in paddle26:paddlepaddle==2.6.2:cpu paddle33:paddlepaddle==3.3.1:cpu \
	            paddle26-gpu:paddlepaddle-gpu==2.6.2:gpu; do \
	    IFS=: read -r name pin extra <<< "$$line"; \
	    dev=$$([ $$extra = cpu ] && echo "--extra dev"); \
	    echo "$$pin" | uv pip compile -q --universal --python-version 3.10 --no-header --no-annotate \
	        --extra $$extra $$dev pyproject.toml - -o requirements/$$name.lock || exit 1; \
	done

clean: ## environments and caches (not outputs/)
	rm -rf $(VENV) $(VENV26) dist build .pytest_cache .ruff_cache .hypothesis

SHELL := /bin/bash
