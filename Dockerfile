# Workers of a cluster: Beam's image with pairmill and all it needs, so that nothing is installed while a job runs.
#   docker build -t IMAGE .                            as a container of Beam: --environment-type DOCKER, Dataflow
#   docker run --net host --entrypoint pairmill IMAGE worker-pool --port 50000          as a pool of workers
ARG PYTHON=3.11
ARG BEAM=2.77.0
FROM apache/beam_python${PYTHON}_sdk:${BEAM}
# run: without torch and models; models: with them.
ARG EXTRAS=models
WORKDIR /opt/pairmill
COPY setup.py pyproject.toml MANIFEST.in README.md LICENSE ./
COPY sharding ./sharding
COPY filters ./filters
COPY transforms ./transforms
COPY pipeline ./pipeline
COPY runners ./runners
RUN pip install --no-cache-dir ".[${EXTRAS}]" && rm -rf build *.egg-info
# What is imported at the start of every worker; a build without it ends here and not on the cluster.
RUN python -c "import pairmill.transforms.wiring, pairmill.runners.worker"
# Beam's own entry point stays: it starts one worker, or with --worker_pool a pool.
