# pairmill: `make demo` and `make test` set up everything they need, and can be run again at once.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
I2D := .venv-img2dataset
TRAINERS := .venv-trainers
FLINK := .flink
SPARK := .spark
FOLDERS := sharding filters transforms pipeline runners

.PHONY: demo test lint links setup nginx clean

demo: $(READY)  ## run the main job on the embedded pool; the dataset lands in demo-build/
	@echo "== pairmill demo: an embedded pool, served on loopback, to shards in demo-build/"
	@rm -rf demo-build
	$(BIN)/pairmill demo demo-build --workers 2
	$(BIN)/shard-stats demo-build/dataset --verify

test: $(READY) links nginx $(I2D)/.ready $(TRAINERS)/.ready $(FLINK)/.ready $(SPARK)/.ready lint  ## linter, types, tests
	@echo "== tests"
	PAIRMILL_IMG2DATASET_PYTHON=$(abspath $(I2D))/bin/python \
	  PAIRMILL_TRAINERS_PYTHON=$(abspath $(TRAINERS))/bin/python $(BIN)/pytest -n 2 --dist loadgroup -q

lint: $(READY) links
	@echo "== linter and types"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.links $(BIN)/mypy $(foreach folder,$(FOLDERS),-p pairmill.$(folder))

setup: $(READY)

# Debian's python3 may come without venv: ask for it where we may, say what to do where we may not.
$(VENV)/bin/uv:
	@echo "== environment in $(VENV) (once)"
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || \
	  { echo "pairmill needs Python 3.10 to 3.13; name one with: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null 2>&1 || { rm -rf $(VENV); \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null && $(PYTHON) -m venv $(VENV); \
	  else echo "python3 has no venv: install it (Debian, Ubuntu: sudo apt-get install python3-venv)"; exit 1; fi; }
	@$(BIN)/pip install -q uv

$(READY): $(VENV)/bin/uv setup.py pyproject.toml
	@echo "== packages (once)"
	@$(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -e '.[dev,models]'
	@touch $@

# img2dataset pins old libraries and does not import on Python 3.13: its tests have an environment of their own.
$(I2D)/.ready: $(VENV)/bin/uv setup.py
	@echo "== img2dataset's own environment (once)"
	@rm -rf $(I2D); $(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))' \
	  && $(BIN)/uv venv -q $(I2D) --python $(BIN)/python \
	  && $(BIN)/uv pip install -q --python $(I2D)/bin/python -e '.[run,img2dataset]' 'setuptools<81' \
	  || { echo "   not here (it needs Python below 3.13): its tests are skipped"; mkdir -p $(I2D); }
	@touch $@

# What trains on the shards: versions that conflict with ours. Most of it is torch, which uv links from its cache.
$(TRAINERS)/.ready: $(VENV)/bin/uv tests/trainers/requirements.txt
	@echo "== the trainers' own environment (once)"
	@rm -rf $(TRAINERS); $(BIN)/uv venv -q $(TRAINERS) --python $(BIN)/python \
	  && $(BIN)/uv pip install -q --python $(TRAINERS)/bin/python -r tests/trainers/requirements.txt \
	  || { echo "   not here: their tests are skipped"; rm -rf $(TRAINERS); mkdir -p $(TRAINERS); }
	@touch $@

# A Flink cluster for the tests: Flink's jars, never in Beam's environment, and Beam's job server for that Flink, of Beam's own
# version where Maven Central has it, else made of its parts.
$(FLINK)/.ready: $(VENV)/bin/uv examples/flink/pom.xml
	@echo "== Flink and Beam's job server for it (once)"
	@rm -rf $(FLINK); mkdir -p $(FLINK)
	@for program in java mvn; do command -v $$program >/dev/null || { \
	  echo "   $$program is not here: tests on a Flink cluster are skipped (Debian, Ubuntu: sudo apt-get install default-jre-headless maven)"; \
	  exit 0; }; done; \
	beam=$$($(BIN)/python -c 'from importlib.metadata import version; print(version("apache-beam"))'); \
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --target $(FLINK)/packages 'apache-flink-libraries==1.19.*' \
	  && { mvn -B -q dependency:copy -Dartifact=org.apache.beam:beam-runners-flink-1.19-job-server:$$beam \
	       -DoutputDirectory=$(abspath $(FLINK)) -Dmdep.stripVersion=true >/dev/null 2>&1 \
	       && mv $(FLINK)/beam-runners-flink-1.19-job-server.jar $(FLINK)/job-server.jar \
	     || mvn -B -q -f examples/flink/pom.xml -Doutput=$(abspath $(FLINK))/made package >$(FLINK)/maven.log 2>&1 \
	       && ln -f $(FLINK)/made/job-server.jar $(FLINK)/job-server.jar; } \
	  || echo "   not all of it can be had: tests on a Flink cluster are skipped (see $(FLINK)/maven.log)"
	@touch $@

# A Spark cluster for the tests, and Beam's job server for it, in the same way. The version is the one in the pom.
$(SPARK)/.ready: $(VENV)/bin/uv examples/spark/pom.xml
	@echo "== Spark and Beam's job server for it (once)"
	@rm -rf $(SPARK); mkdir -p $(SPARK)
	@for program in java mvn; do command -v $$program >/dev/null || { \
	  echo "   $$program is not here: tests on a Spark cluster are skipped"; touch $@; exit 0; }; done; \
	version=$$(sed -n 's|.*<spark.version>\(.*\)</spark.version>.*|\1|p' examples/spark/pom.xml); \
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --target $(SPARK)/packages "pyspark==$$version" \
	  && mvn -B -q -f examples/spark/pom.xml -Doutput=$(abspath $(SPARK))/made package >$(SPARK)/maven.log 2>&1 \
	  && ln -f $(SPARK)/made/job-server.jar $(SPARK)/job-server.jar \
	  || echo "   not all of it can be had: tests on a Spark cluster are skipped (see $(SPARK)/maven.log)"
	@touch $@

# The web server of the tests; without it those tests are skipped, saying so.
nginx:
	@command -v nginx >/dev/null || [ -x /usr/sbin/nginx ] || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && echo "== nginx (once)" && apt-get update -qq \
	  && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq nginx-light >/dev/null; } \
	  || echo "   nginx is not here: tests against it are skipped (Debian, Ubuntu: sudo apt-get install nginx-light)"

# Five links, so that editors and type checkers find the mapped package.
links:
	@mkdir -p .links/pairmill
	@for folder in $(FOLDERS); do ln -sfn ../../$$folder .links/pairmill/$$folder; done

clean:
	rm -rf $(VENV) $(SPARK) $(I2D) $(TRAINERS) $(FLINK) .links .cache demo-build build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
