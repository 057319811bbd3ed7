# Every target installs what it needs in .venv; the machine needs make and Python 3.11 or later.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# not $(BIN)/captioner, which has the path of the folder, and fails when that is moved
CAPTIONER := $(BIN)/python -m captioner
INSTALL = @echo "make: installing in $(VENV); the first time, this downloads $(1) MB" >&2; $(PYTHON) -m venv $(VENV) \
	&& $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable

.PHONY: help install demo caption serve photo model test slow explore smoke newcomer lint types gradcheck bench faults docs build clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

install: $(VENV)/installed ## the captioner command, in .venv
$(VENV)/installed: setup.cfg setup.py pyproject.toml
	$(call INSTALL,25) .
	@touch $@

$(VENV)/dev: setup.cfg pyproject.toml
	$(call INSTALL,170) '.[dev]'
	@touch $@ $(VENV)/installed

demo: install ## train on the generated pictures and caption ten of them (one minute)
	$(CAPTIONER) train -c scenes-lstm --run runs/demo --overwrite
	$(CAPTIONER) sample runs/demo --split val -n 10
	$(CAPTIONER) evaluate runs/demo --split val --split heldout

export MODEL ?=
OPTIONS = $(if $(MODEL), --model "$$MODEL")
ADDS := the next line is from make
override export PHOTO := $(or $(value PHOTO),docs/photos)
caption: photo model $(VENV)/web ## caption docs/photos, or PHOTO=my.jpg or a folder (MODEL=runs/my: another model)
	@echo "photograph, caption, marks" >&2
	@case "$$PHOTO" in -*) PHOTO="./$$PHOTO";; esac; $(CAPTIONER) caption "$$PHOTO" --album none$(OPTIONS); CODE=$$?; \
	if test -d "$$PHOTO" && find -L "$$PHOTO" -type f | grep --quiet .; then echo "next, a table with keywords, for spreadsheets:" \
		"$(CAPTIONER) caption '$$PHOTO'$(OPTIONS) --write captions.csv" >&2; \
	elif test $$CODE = 0; then echo "next: make caption PHOTO=FOLDER, or make serve (a web page)" >&2; fi; \
	test $$CODE = 0 || { echo "make caption: errors are reported above; $(ADDS)" >&2; exit $$CODE; }

serve: model $(VENV)/web ## caption photographs on a local web page (MODEL=runs/my: another model)
	@$(CAPTIONER) serve $${MODEL:+"$$MODEL"}

photo:
	@test -f "$$PHOTO" || test -d "$$PHOTO" || { printf '%s\n' "make caption: $$PHOTO: not found; expected a photograph or a \
	folder of photographs; quote names with spaces: PHOTO=\"my photo.jpg\"; in quotes, write \$$HOME for ~; $(ADDS)" >&2; exit 2; }

model:
	@test -z "$$MODEL" || test -e "$$MODEL" || { echo "make: $$MODEL: not found; expected a run folder or a model file; $(ADDS)" >&2; exit 2; }

$(VENV)/web: setup.cfg pyproject.toml
	$(call INSTALL,65) '.[images,web]'
	@touch $@ $(VENV)/installed

test: $(VENV)/dev ## the fast tests (a minute on two cores)
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 -m "not environments and not slow" $(ARGS)

slow: $(VENV)/dev ## the tests that train for long or start many processes, and a short version of `make faults`
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m slow $(ARGS)

explore: $(VENV)/dev ## the tests of random examples, with new examples and twenty times as many
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal --hypothesis-profile explore -m "hypothesis and not environments" $(ARGS)

smoke: $(VENV)/dev ## the main path of each command with the lowest declared versions of the libraries
	$(BIN)/python -m pytest -m environments -r s tests/installation/test_lowest_versions.py

newcomer: $(VENV)/dev ## install wheel and source archive elsewhere; run the README and the smoke tests (FULL=1: all)
	FULL=$(FULL) $(BIN)/python -m pytest --numprocesses 2 -m environments tests/installation/test_archives.py tests/installation/test_newcomer.py

lint: $(VENV)/dev ## style, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/dev ## mypy, strict
	$(BIN)/mypy

gradcheck: install ## check every gradient numerically
	$(CAPTIONER) gradcheck --full

$(VENV)/bench: setup.cfg pyproject.toml
	$(call INSTALL,400) '.[bench]'
	@touch $@ $(VENV)/installed

bench: $(VENV)/bench ## compare with PyTorch; print the tables (an hour)
	$(BIN)/python -m benchmarks $(ARGS)

FAULTS ?= 1
faults: $(VENV)/dev ## break it on purpose, and write the table of docs/reliability.md (7 minutes; FAULTS=0.01: one)
	$(BIN)/python -m faults --share $(FAULTS) $(ARGS)

docs: $(VENV)/dev ## write the generated parts: docs/commands.md, docs/config.md, captions of the README, course
	$(BIN)/python docs/commands.py
	$(BIN)/python docs/options.py
	$(BIN)/python docs/course/drawings.py
	$(BIN)/python docs/course/bptt.py
	$(BIN)/python docs/course/notebooks.py
	$(BIN)/python docs/photographs.py

build: $(VENV)/dev ## a source archive, and a wheel built from it, in dist/
	rm -rf dist
	$(BIN)/uv build --quiet --out-dir dist

clean: ## remove .venv, runs/ and caches
	rm -rf $(VENV) runs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
