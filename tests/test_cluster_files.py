"""The manifests of docs/cluster hold what Ray and KubeRay require, and commands we can read."""

from pathlib import Path

import pytest
import yaml

from fedirl_ray.cli import PROG, load
from fedirl_ray.command.federate import Invocation

DOCS = Path(__file__).parent.parent / "docs"


def manifest(name):
    text = (DOCS / "cluster" / name).read_text()
    assert "NOT RUN" in text.splitlines()[1]  # said where it is read
    return yaml.safe_load(text)


def test_the_cluster_file_has_what_ray_up_requires():
    # cluster_name and provider are required by Ray's schema, the addresses by type local.
    tree = manifest("ray-up.yaml")
    assert tree["cluster_name"]
    assert tree["provider"]["type"] == "local"
    assert tree["provider"]["head_ip"] not in tree["provider"]["worker_ips"]
    assert tree["max_workers"] == len(tree["provider"]["worker_ips"])
    head, worker = tree["head_start_ray_commands"][-1], tree["worker_start_ray_commands"][-1]
    for line in (head, worker):
        assert line.startswith("RAY_AUTH_MODE=token ")
        assert "ray start" in line
    assert "--head" in head
    assert "--dashboard-host=127.0.0.1" in head
    assert "--address=$RAY_HEAD_IP:" in worker


def test_ray_accepts_the_cluster_file():
    import json

    import jsonschema
    import ray.autoscaler

    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(manifest("ray-up.yaml"), schema)


def test_the_ray_job_has_what_its_resource_requires():
    tree = manifest("kuberay-rayjob.yaml")
    assert (tree["apiVersion"], tree["kind"]) == ("ray.io/v1", "RayJob")
    assert tree["metadata"]["name"]
    spec = tree["spec"]["rayClusterSpec"]
    (workers,) = spec["workerGroupSpecs"]
    assert workers["groupName"]
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    pods = [
        spec["headGroupSpec"]["template"]["spec"],
        workers["template"]["spec"],
        tree["spec"]["submitterPodTemplate"]["spec"],
    ]
    for pod in pods:
        (container,) = pod["containers"]
        assert container["name"]
        assert container["image"]
        assert {"name": "RAY_AUTH_MODE", "value": "token"} in container["env"]
        mounted = {mount["name"] for mount in container.get("volumeMounts", ())}
        assert mounted == {volume["name"] for volume in pod.get("volumes", ())}
    assert tree["spec"]["submitterPodTemplate"]["spec"]["restartPolicy"] in ("Never", "OnFailure")


def test_the_job_of_the_manifest_is_a_command_of_ours():
    words = manifest("kuberay-rayjob.yaml")["spec"]["entrypoint"].split()
    assert " ".join(words[:3]) == PROG
    config = load(Invocation, words[3:], prog=PROG, description="")
    assert config.engine.address == "auto"
    mounts = manifest("kuberay-rayjob.yaml")["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]
    (mount,) = mounts["spec"]["containers"][0]["volumeMounts"]
    assert str(config.run_dir).startswith(mount["mountPath"])


@pytest.mark.parametrize("name", ["ray-up.yaml", "kuberay-rayjob.yaml"])
def test_the_page_names_every_manifest(name):
    assert f"cluster/{name}" in (DOCS / "cluster.md").read_text()
