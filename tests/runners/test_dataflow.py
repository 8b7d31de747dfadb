"""Dataflow as far as it goes without the cloud: options, the graph as it is sent, a job written as a template."""

from __future__ import annotations

import json
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import DebugOptions, GoogleCloudOptions, PipelineOptions, WorkerOptions
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.transforms.environments import DockerEnvironment

from pairmill.pipeline.prepare import prepare
from pairmill.pipeline.prepared import Prepared
from pairmill.pipeline.recipe import load_recipe
from pairmill.runners import dataflow
from pairmill.runners.cli import main
from pairmill.runners.dataflow import dataflow_options
from pairmill.runners.runner_choice import RunnerChoice
from pairmill.runners.submit import greeted
from pairmill.sharding.errors import UsageError
from pairmill.transforms.wiring.build_dataset import BuildDataset
from pairmill.transforms.wiring.first_calls import MeetWorkers

GIVEN = ("--project=a-project", "--region=europe-west4", "--temp_location=gs://bucket/tmp")
IMAGE = "--sdk_container_image=registry/pairmill:1"
GPU = "type:nvidia-l4;count:1;install-nvidia-driver"
SCORER = """
class Length:
    def __init__(self):
        pass
    def load_model(self):
        return None
    def run_inference(self, batch, model, arguments=None):
        return [0.0 for _ in batch]
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "length_of_tests.py").write_text(SCORER)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "pool.csv").write_text("url,caption\n" + "".join(f"http://h/{n}.jpg,a caption\n" for n in range(9)))
    handler = {"handler": {"handler": "length_of_tests.Length", "outputs": ["value"]}}
    told = {
        "name": "r",
        "pool": {"path": str(tmp_path / "pool.csv")},
        "language": "off",
        "scorers": {"length": handler},
    }
    (tmp_path / "r.yaml").write_text(json.dumps({**told, "rules": ["caption_length"]}))
    return tmp_path / "r.yaml"


@pytest.fixture
def ready(recipe: Path, tmp_path: Path) -> Prepared:
    return greeted(prepare(load_recipe(recipe), tmp_path / "build", tmp_path / "work", lanes=4))


def test_options_are_ours_and_then_the_users() -> None:
    options = dataflow_options(RunnerChoice("dataflow", workers=12, beam_options=(*GIVEN, IMAGE)))
    assert options.view_as(WorkerOptions).max_num_workers == 12
    assert options.view_as(DebugOptions).number_of_worker_harness_threads == 1
    assert options.view_as(GoogleCloudOptions).project == "a-project"
    assert not options.view_as(DebugOptions).experiments
    told = (*GIVEN, IMAGE, "--max_num_workers=3")
    gpu = dataflow_options(RunnerChoice("dataflow", workers=12, accelerator=GPU, beam_options=told))
    assert gpu.view_as(WorkerOptions).max_num_workers == 3
    assert gpu.view_as(DebugOptions).experiments == ["no_use_multiple_sdk_containers"]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ((), "give --project, --region, --temp_location, --sdk_container_image behind a --"),
        ((*GIVEN,), "give --sdk_container_image behind a --"),
        ((*GIVEN[:2], "--temp_location=/tmp/x", IMAGE), "--temp_location=/tmp/x: Dataflow needs a place in gs://"),
    ],
)
def test_what_is_missing_is_named(told: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataflow_options(RunnerChoice("dataflow", beam_options=told))


def test_an_accelerator_is_for_dataflow_alone() -> None:
    with pytest.raises(UsageError, match="run --steps score as a job of its own"):
        RunnerChoice("flink", flink_master="h:1", environment_type="LOOPBACK", accelerator=GPU)


def test_google_s_client_is_asked_for_in_one_line(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dataflow, "_is_installed", lambda name: False)
    command = ["run", str(recipe), "--out", str(tmp_path / "build"), "--no-space-check", "--quiet"]
    assert main([*command, "--runner", "dataflow", "--", *GIVEN, IMAGE]) == 2
    assert "pip install 'pairmill[run,dataflow]'" in capsys.readouterr().err


def test_the_graph_as_it_is_sent(ready: Prepared) -> None:
    choice = RunnerChoice("dataflow", accelerator=GPU)
    assert ready.job.greeting is not None
    pipeline = beam.Pipeline(options=PipelineOptions([]))
    segments = pipeline | "Workers" >> MeetWorkers(ready.job.greeting, len(ready.segments), 4)
    _ = segments | "Build" >> BuildDataset(ready.job, hints=choice.model_hints)
    proto = pipeline.to_runner_api(default_environment=DockerEnvironment.from_container_image("image"))
    components = proto.components
    assert {each.urn for each in components.environments.values()} == {common_urns.environments.DOCKER.urn}
    # What is sent is small, however large the pool: rows and images lie in files.
    assert max(len(each.spec.payload) for each in components.transforms.values()) < 1 << 20
    hints = common_urns.resource_hints.ACCELERATOR.urn
    hinted = {
        step.unique_name.split("/")[1]
        for step in components.transforms.values()
        if step.environment_id and hints in components.environments[step.environment_id].resource_hints
    }
    assert hinted == {"Score images"}


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's client must be here; Beam is kept from asking the cloud about the bucket."""
    pytest.importorskip("google.cloud.dataflow", reason="Google's client is not here: pairmill[dataflow]")
    monkeypatch.setattr(GoogleCloudOptions, "_handle_temp_and_staging_locations", lambda self, validator: [])


@pytest.mark.usefixtures("google")
def test_a_job_is_written_as_a_template(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "staged").mkdir()
    command = ["run", str(recipe), "--out", str(tmp_path / "build"), "--no-space-check", "--quiet", "--workers", "7"]
    local = [f"--template_location={tmp_path}/job.json", f"--staging_location={tmp_path}/staged", "--no_auth"]
    assert main([*command, "--runner", "dataflow", "--accelerator", GPU, "--", *GIVEN, IMAGE, *local]) == 0
    assert "then run this command without --template_location" in capsys.readouterr().err
    job = json.loads((tmp_path / "job.json").read_text())
    (pool,) = job["environment"]["workerPools"]
    assert {image["containerImage"] for image in pool["sdkHarnessContainerImages"]} == {"registry/pairmill:1"}
    assert (pool["autoscalingSettings"]["maxNumWorkers"], pool["numThreadsPerWorker"]) == (7, 1)
    assert "no_use_multiple_sdk_containers" in job["environment"]["experiments"]
    assert {path.name for path in (tmp_path / "staged").iterdir()} == {"pipeline.pb"}
    pipeline = beam_runner_api_pb2.Pipeline.FromString((tmp_path / "staged" / "pipeline.pb").read_bytes())
    assert any(GPU.encode() in each.resource_hints.values() for each in pipeline.components.environments.values())
    # Its workers will look for the token of this run.
    assert len(list((tmp_path / "build" / "parts").glob("*/workers/token.json"))) == 1
