"""The Kubernetes example fits together, and with the commands, versions and ports of the code."""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from pairmill.runners import cli
from pairmill.runners.runner_arguments import choice_of

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "kubernetes"
CLUSTERS = ("flink-cpu", "flink-gpu")
POOL_PORT = 50000


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def found(name: str, kind: str, called: str) -> dict[str, Any]:
    (document,) = [each for each in documents(name) if each["kind"] == kind and each["metadata"]["name"] == called]
    return document


def parsed(words: list[str]) -> argparse.Namespace:
    return cli._parser().parse_args(words[1:])


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_each_task_manager_has_a_pool_of_workers_beside_it(cluster: str) -> None:
    pod = found(cluster, "Deployment", f"{cluster}-taskmanager")["spec"]["template"]["spec"]
    by_name = {container["name"]: container for container in pod["containers"]}
    assert set(by_name) == {"taskmanager", "workers"}
    workers = by_name["workers"]
    assert parsed(workers["command"]).port == workers["ports"][0]["containerPort"] == POOL_PORT
    assert workers["readinessProbe"]["tcpSocket"]["port"] == POOL_PORT
    assert ("nvidia.com/gpu" in workers["resources"]["limits"]) == (cluster == "flink-gpu")
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for container in pod["containers"]:
        assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
    claim = volumes["shared"]["persistentVolumeClaim"]["claimName"]
    assert claim == documents("shared")[0]["metadata"]["name"]


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_labels_names_and_memory_fit_together(cluster: str) -> None:
    config = yaml.safe_load(found(cluster, "ConfigMap", f"{cluster}-config")["data"]["flink-conf.yaml"])
    service = found(cluster, "Service", config["jobmanager.rpc.address"])
    for component in ("jobmanager", "taskmanager"):
        spec = found(cluster, "Deployment", f"{cluster}-{component}")["spec"]
        labels = spec["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"] == labels
        assert (service["spec"]["selector"] == labels) == (component == "jobmanager")
        (java,) = [each for each in spec["template"]["spec"]["containers"] if each["name"] == component]
        assert java["resources"]["limits"]["memory"] == config[f"{component}.memory.process.size"].replace("m", "Mi")
    pool = found(cluster, "Deployment", f"{cluster}-taskmanager")["spec"]["template"]["spec"]["containers"][1]
    gpus = pool["resources"]["limits"].get("nvidia.com/gpu")
    assert config["taskmanager.numberOfTaskSlots"] == (gpus or int(pool["resources"]["requests"]["cpu"]))


@pytest.mark.parametrize(("job", "cluster"), [("fetch", "flink-cpu"), ("score", "flink-gpu"), ("rest", "flink-cpu")])
def test_jobs_are_submitted_with_options_that_there_are(job: str, cluster: str) -> None:
    pod = found("submit", "Job", f"pairmill-{job}")["spec"]["template"]["spec"]
    (command,) = [container["command"] for container in pod["containers"]]
    arguments = parsed(command)
    choice = choice_of(arguments)
    assert arguments.steps == ("all" if job == "rest" else job)
    assert (choice.name, choice.environment_config) == ("flink", f"localhost:{POOL_PORT}")
    (server,) = pod["initContainers"]
    assert choice.job_endpoint == f"localhost:{server['startupProbe']['tcpSocket']['port']}"
    assert f"--flink-master={cluster}-jobmanager:8081" in server["args"]
    # Of the Beam that is tested, for the Flink of the cluster.
    flink = found(cluster, "Deployment", f"{cluster}-jobmanager")["spec"]["template"]["spec"]["containers"][0]["image"]
    release = flink.removeprefix("flink:").partition("-")[0]
    assert server["image"] == f"apache/beam_flink{release}_job_server:{version('apache-beam')}"
    slots = yaml.safe_load(found(cluster, "ConfigMap", f"{cluster}-config")["data"]["flink-conf.yaml"])
    replicas = found(cluster, "Deployment", f"{cluster}-taskmanager")["spec"]["replicas"]
    assert choice.workers == replicas * slots["taskmanager.numberOfTaskSlots"]


def test_everybody_uses_one_image_of_pairmill() -> None:
    images = {
        container["image"]
        for name in (*CLUSTERS, "submit")
        for document in documents(name)
        if document["kind"] in ("Deployment", "Job")
        for container in document["spec"]["template"]["spec"]["containers"]
        if container.get("command", [""])[0] == "pairmill"
    }
    assert len(images) == 1
