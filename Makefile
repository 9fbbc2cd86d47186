# `make demo` and `make test` are all that a fresh clone needs.
# PYTHON=/path/to/python3.13 chooses the interpreter of .venv;
# ARGS="..." goes to the demo's run.sh, to pytest, to tests/mutants.py or to the times
# of a GPU; make demo, mutants and gpu-check with ARGS=--help list their own.

BIN := $(CURDIR)/.venv/bin
ARGS ?=

.PHONY: help demo test docs mutants gpu-check venv lint format clean

help:
	@echo "make demo     train, decode and score a small Korean-English model"
	@echo "make test     lint, format check and every test"
	@echo "make docs     the documentation as a site, in site/"
	@echo "make mutants  change the code on purpose: do the tests notice?"
	@echo "make gpu-check  every path on the GPU: is it right, how fast? (10 min)"
	@echo "make venv     .venv with the package and its extras"
	@echo "make lint     ruff check and ruff format --check"
	@echo "make format   rewrite the code as ruff wants it"
	@echo "make clean    remove .venv and caches, keep the recipes' results"

# Options are looked at before minutes are spent on an environment.
RUN := egs2/mini_koen/smoe1/run.sh
demo:
ifneq ($(filter -h --help,$(ARGS)),)
	@$(RUN) $(ARGS)
else
	@$(RUN) $(ARGS) --stop_stage 0 >/dev/null
	@start=$$(date +%s) && .ci/venv || exit; PATH="$(BIN):$$PATH" $(RUN) $(ARGS) & \
	trap "kill -TERM $$!; wait $$!; exit 143" TERM INT HUP; wait $$! \
	&& echo "make demo took $$(( ($$(date +%s) - start) / 60 )) min" \
	"$$(( ($$(date +%s) - start) % 60 )) s"
endif

# The warning ignored is of SWIG, at exit: pytest's summary is to be the last line.
# PYTHON chose .venv's interpreter; to the scripts under test it would be theirs.
test: lint
	@unset PYTHON; PATH="$(BIN):$$PATH" python -W "ignore:builtin type:DeprecationWarning" \
	-m pytest $(ARGS)

# The same build, into a folder of its own, is a test.
docs: venv
	@NO_MKDOCS_2_WARNING=1 PYTHONWARNINGS=ignore "$(BIN)/mkdocs" build --strict
	@echo "site/index.html; or with a search: $(BIN)/mkdocs serve"

# Which files, how many and which of them: make mutants ARGS="--count 40 --seed 2".
mutants: venv
	@PATH="$(BIN):$$PATH" OMP_NUM_THREADS=1 python -W ignore::DeprecationWarning \
	tests/mutants.py $(ARGS)

# On one GPU and without a network; times into gpu.md where ARGS name no other file.
gpu-check: venv
	@"$(BIN)/python" -m pytest tests/gpu --device cuda; checked=$$?; \
	"$(BIN)/python" -m espnet_smoe.benchmark gpu --markdown gpu.md $(ARGS) \
	&& exit $$checked

venv:
	@.ci/venv

lint: venv
	@"$(BIN)/ruff" check --quiet .
	@"$(BIN)/ruff" format --check --quiet .

format: venv
	@"$(BIN)/ruff" check --fix .
	@"$(BIN)/ruff" format .

clean:
	rm -rf .venv build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis
	find espnet_smoe tests -name __pycache__ -type d -prune -exec rm -rf {} +
