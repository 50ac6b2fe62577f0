"""Files of deploy/ that are not run here are held against what reads them."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

DEPLOY = Path(__file__).parents[2] / "deploy"

# Fields of KubeRay's ray.io/v1 types (raycluster_types.go, rayjob_types.go; authOptions is there
# from 1.5.1 on); of a container's fields those that may be used here.
CLUSTER = {
    "authOptions", "autoscalerOptions", "enableInTreeAutoscaling", "headGroupSpec",
    "headServiceAnnotations", "rayVersion", "suspend", "workerGroupSpecs",
}  # fmt: skip
JOB = {
    "activeDeadlineSeconds", "backoffLimit", "clusterSelector", "deletionStrategy", "entrypoint",
    "entrypointNumCpus", "entrypointNumGpus", "entrypointResources", "jobId", "managedBy",
    "metadata", "rayClusterSpec", "runtimeEnvYAML", "shutdownAfterJobFinishes", "submissionMode",
    "submitterConfig", "submitterPodTemplate", "suspend", "ttlSecondsAfterFinished",
}  # fmt: skip
HEAD = {"enableIngress", "headService", "rayStartParams", "serviceType", "template"}
WORKERS = {
    "groupName", "maxReplicas", "minReplicas", "numOfHosts", "rayStartParams", "replicas",
    "scaleStrategy", "template",
}  # fmt: skip
AUTOSCALER = {
    "env", "envFrom", "idleTimeoutSeconds", "image", "imagePullPolicy", "resources",
    "securityContext", "upscalingMode", "volumeMounts",
}  # fmt: skip
CONTAINER = {"name", "image", "resources", "volumeMounts", "env", "command", "args", "ports"}
MANIFESTS = ("raycluster.yaml", "rayjob.yaml")


def documents(name: str) -> list[dict]:
    return [d for d in yaml.safe_load_all((DEPLOY / "kuberay" / name).read_text()) if d]


def clusters(name: str) -> Iterator[Mapping]:
    for document in documents(name):
        if document["kind"] == "RayCluster":
            yield document["spec"]
        if document["kind"] == "RayJob":
            yield document["spec"]["rayClusterSpec"]


def test_cluster_of_ray_up_is_valid_by_rays_schema() -> None:
    config = prepare_config(yaml.safe_load((DEPLOY / "ray-cluster.yaml").read_text()))

    validate_config(config)

    spot = config["available_node_types"]["cpu_spot"]["node_config"]["InstanceMarketOptions"]
    assert spot == {"MarketType": "spot"}
    starts = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    assert all("RAY_AUTH_MODE=token" in line for line in starts if "ray start" in line)


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifests_name_only_fields_that_kuberay_knows(name: str) -> None:
    for document in documents(name):
        assert {"apiVersion", "kind", "metadata", "spec"} == set(document)
        if document["kind"] == "RayJob":
            assert set(document["spec"]) <= JOB
    for cluster in clusters(name):
        assert set(cluster) <= CLUSTER
        assert set(cluster["headGroupSpec"]) <= HEAD
        assert all(set(group) <= WORKERS for group in cluster["workerGroupSpecs"])
        assert set(cluster.get("autoscalerOptions", ())) <= AUTOSCALER
        assert cluster["authOptions"] == {"mode": "token"}


@pytest.mark.parametrize("name", MANIFESTS)
def test_pods_of_the_manifests_mount_what_they_declare_and_the_results(name: str) -> None:
    groups = [g for c in clusters(name) for g in (c["headGroupSpec"], *c["workerGroupSpecs"])]

    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert set(container) <= CONTAINER
        assert "results" in mounts <= {volume["name"] for volume in pod["volumes"]}
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())


@pytest.mark.parametrize("script", ["local/cluster.sh", "slurm/sweep.sbatch"])
def test_scripts_are_valid_shell(script: str) -> None:
    bash = shutil.which("bash")
    assert bash is not None

    done = subprocess.run(
        [bash, "-n", DEPLOY / script], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_local_cluster_refuses_a_command_that_it_does_not_know(tmp_path: Path) -> None:
    command = [DEPLOY / "local" / "cluster.sh", "restart", "--folder", tmp_path / "c"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "say start, add, remove, env or stop" in done.stderr
    assert not (tmp_path / "c").exists()
