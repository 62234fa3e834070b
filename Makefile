# Everything a bare machine with Python and make needs: the environment is made on first use.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test test-slow check pretrained clean

demo: $(INSTALLED)        ## learn a reward on U-Maze and write runs/demo/report/index.html
	$(BIN)/trailward demo --out runs/demo

test: .venv/.dev          ## every check: lint, types, import order, tests
	$(MAKE) check
	$(BIN)/python -m pytest -m "not slow"

test-slow: .venv/.dev     ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

pretrained: $(INSTALLED)  ## remake the packaged U-Maze diffuser (about 15 minutes)
	test -d runs/pretrained/play-v0 || $(BIN)/trailward collect --what play --maze umaze \
	  --num-steps 400000 --seed 0 --out runs/pretrained/play
	$(BIN)/trailward train --play runs/pretrained/play --preset umaze --out runs/pretrained/umaze
	mkdir -p src/trailward/pretrained/umaze
	cp runs/pretrained/umaze/config.json runs/pretrained/umaze/weights.safetensors \
	  src/trailward/pretrained/umaze/

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[maze]"
	touch $@

.venv/.dev: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

clean:
	rm -rf .venv runs
