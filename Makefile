# make demo: the whole job on a drawn miniature competition. make test: lint, types, tests.
# STACK=keras3 (newest TensorFlow) or keras2 (TensorFlow 2.15 with tensorflow-addons, Python < 3.12).

PYTHON ?= python3
STACK ?= keras3
VENV ?= .venv-$(STACK)
DEMO ?= .demo-$(STACK)
JOBS ?= 2

# tensorflow-cpu is a third of the download but exists for Linux and Windows on x86-64 only.
TENSORFLOW ?= $(if $(filter Linux-x86_64,$(shell uname -sm | tr ' ' '-')),cpu,tf)
EXTRAS_keras3 = $(TENSORFLOW),efficientnet,dicom,plots,beam,dev
EXTRAS_keras2 = addons,dicom,plots,dev

INSTALLED = $(VENV)/.installed
BIN = $(CURDIR)/$(VENV)/bin
SHARDS = $(DEMO)/shards
RUN = $(DEMO)/run

.PHONY: demo test coverage lint types clean

$(INSTALLED): setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[$(EXTRAS_$(STACK))]'
	touch $@

demo: $(INSTALLED)
	rm -rf $(DEMO)
	$(BIN)/melanoma-tf demo --out=$(DEMO)/download
	$(BIN)/tfrecord-tools convert --images=$(DEMO)/download/train --csv=$(DEMO)/download/train.csv --out=$(SHARDS) --size=128 --shards=4
	$(BIN)/tfrecord-tools convert --images=$(DEMO)/download/test --csv=$(DEMO)/download/test.csv --out=$(SHARDS) --size=128 --shards=2
	$(BIN)/tfrecord-tools verify --data_dir=$(SHARDS)
	$(BIN)/melanoma-tf folds --train_csv=$(SHARDS)/train.csv --duplicates=$(DEMO)/download/duplicates.csv --folds=3 --out=$(SHARDS)/folds.csv
	$(BIN)/melanoma-tf train --config=demo --data_dir=$(SHARDS) --work_dir=$(RUN)
	$(BIN)/melanoma-tf blend --members=$(RUN) --train_csv=$(SHARDS)/train.csv --out=$(DEMO)/blend
	$(BIN)/melanoma-tf submit --predictions=$(DEMO)/blend/test.csv --sample=$(DEMO)/download/sample_submission.csv --solution=$(DEMO)/download/test_solution.csv --test_csv=$(SHARDS)/test.csv --out=$(DEMO)/submission.csv
	$(BIN)/melanoma-tf report --runs=$(RUN) --train_csv=$(SHARDS)/train.csv --data_dir=$(SHARDS) --out=$(DEMO)/report.html
	@echo
	@echo "submission: $(CURDIR)/$(DEMO)/submission.csv"
	@echo "report:     $(CURDIR)/$(DEMO)/report.html"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

# A file's tests stay in one process, so that the runs which they share are made once. A process keeps every program that
# it compiled, two of them 24 GB by the last file: so the files go by initials, in parts with processes of their own.
PARTS = a-l m-z
PYTEST = set -e; for part in $(PARTS); do $(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(1) tests/test_[$$part]*.py; done

test: lint types
	$(call PYTEST)

coverage: $(INSTALLED)
	rm -f .coverage
	$(call PYTEST,--cov=melanoma_tf --cov=tfrecord_tools --cov-append --cov-report=term:skip-covered)

clean:
	rm -rf .venv-* .demo-* *.egg-info build dist
