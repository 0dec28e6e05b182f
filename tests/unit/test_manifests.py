"""configs/kubernetes: each manifest fits its schema, and all fit together, the command line and the lock file."""

import copy
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipelines.cli import parser
from sim_transforms.options import check_reach, pipeline_options
from sim_transforms.settings.loader import load_settings

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "configs" / "kubernetes"
SCHEMAS = "1.31"
SHARED, CONFIG = "/mnt/shared", "/etc/ruiji/catalog.yaml"
JOBS = {"run.yaml": "run", "reindex.yaml": "reindex"}


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def _manifests() -> list[dict[str, Any]]:
    """All of Kubernetes' own kinds."""
    paths = [*sorted(FOLDER.glob("*.yaml")), ROOT / "configs" / "schedules" / "cronjob.yaml"]
    found = [document for path in paths for document in documents(path)]
    return [d for d in found if d.get("kind") not in (None, "Kustomization", "FlinkDeployment")]


MANIFESTS = _manifests()


def _named(kind: str, name: str) -> dict[str, Any]:
    (found,) = [m for m in MANIFESTS if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


def _flink() -> dict[str, Any]:
    (found,) = documents(FOLDER / "flink-cluster.yaml")
    return found


def _pods() -> list[dict[str, Any]]:
    """Specs of all pods of configs/kubernetes."""
    run, job_server = (_named("Job", "ruiji-run"), _named("Deployment", "ruiji-job-server"))
    reindex = documents(FOLDER / "reindex.yaml")[0]["spec"]["jobTemplate"]
    of_jobs = [manifest["spec"]["template"]["spec"] for manifest in (run, job_server, reindex)]
    return [*of_jobs, _flink()["spec"]["taskManager"]["podTemplate"]["spec"]]


def _containers() -> list[dict[str, Any]]:
    return [container for pod in _pods() for container in pod["containers"]]


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda m: f"{m['kind']} {m['metadata']['name']}")
def test_manifests_fit_their_schemas(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, SCHEMAS, strict=True)


@pytest.mark.parametrize("damage", ["misspelt", "type", "missing"])
def test_a_damaged_manifest_is_refused(damage: str) -> None:
    manifest = copy.deepcopy(_named("Job", "ruiji-run"))
    pod = manifest["spec"]["template"]["spec"]
    if damage == "misspelt":
        pod["containers"][0]["imagePullPolicies"] = "Always"
    elif damage == "type":
        manifest["spec"]["backoffLimit"] = "three"
    else:
        del pod["containers"][0]["name"]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, SCHEMAS, strict=True)


def test_every_file_is_applied() -> None:
    (kustomization,) = documents(FOLDER / "kustomization.yaml")
    maps = kustomization["configMapGenerator"]
    named = {*kustomization["resources"], *(file for each in maps for file in each["files"]), "kustomization.yaml"}
    assert named == {path.name for path in FOLDER.glob("*.yaml")}
    images = {image["name"] for image in kustomization["images"]}
    assert {c["image"].rpartition(":")[0] for c in _containers() if "image" in c} == images
    assert _flink()["spec"]["image"].rpartition(":")[0] in images


@pytest.mark.parametrize(("name", "command"), JOBS.items())
def test_containers_run_commands_that_there_are(name: str, command: str) -> None:
    (manifest,) = documents(FOLDER / name)
    pod = manifest["spec"].get("jobTemplate", manifest)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["ruiji"]
    given, further = parser().parse_known_args(container["args"])
    assert (given.command, given.config, further) == (command, CONFIG, [])
    (config,) = [mount for mount in container["volumeMounts"] if mount["name"] == "config"]
    assert f"{config['mountPath']}/catalog.yaml" == CONFIG
    rules = manifest["spec"].get("jobTemplate", manifest)["spec"]["podFailurePolicy"]["rules"]
    assert rules[0]["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [2]}


def test_volumes_are_there_and_the_shared_one_has_one_path() -> None:
    for pod in _pods():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["shared"]["persistentVolumeClaim"]["claimName"] == "ruiji-shared"
        for container in pod["containers"]:
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            assert mounts.keys() <= volumes.keys()
            assert mounts["shared"] == SHARED
    assert _named("PersistentVolumeClaim", "ruiji-shared")["spec"]["accessModes"] == ["ReadWriteMany"]


def test_configuration_goes_with_the_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(str(FOLDER / "catalog.yaml"), (), None, None)
    section = settings.beam
    options = pipeline_options([], section, []).get_all_options()
    check_reach(pipeline_options([], section, []), bool(section["shared_filesystem"]), settings.workdir)
    assert settings.workdir.startswith(f"{SHARED}/")

    service = _named("Service", "ruiji-job-server")
    ports = {port["name"]: port for port in service["spec"]["ports"]}
    host = service["metadata"]["name"]
    assert options["job_endpoint"] == f"{host}:{ports['jobs']['port']}"
    assert options["artifact_endpoint"] == f"{host}:{ports['artifacts']['port']}"
    deployment = _named("Deployment", "ruiji-job-server")
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    (server,) = deployment["spec"]["template"]["spec"]["containers"]
    opened = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert {name: port["targetPort"] for name, port in ports.items()} == {"jobs": "jobs", "artifacts": "artifacts"}
    assert {f"--job-port={opened['jobs']}", f"--artifact-port={opened['artifacts']}"} <= set(server["args"])
    artifacts = next(argument for argument in server["args"] if argument.startswith("--artifacts-dir="))
    assert artifacts.partition("=")[2].startswith(f"{SHARED}/")

    flink = _flink()
    assert f"--flink-master={flink['metadata']['name']}-rest:8081" in server["args"]
    managers, slots = flink["spec"]["taskManager"], flink["spec"]["flinkConfiguration"]["taskmanager.numberOfTaskSlots"]
    assert options["parallelism"] == managers["replicas"] * int(slots)
    (pool,) = [c for c in managers["podTemplate"]["spec"]["containers"] if c["name"] == "worker-pool"]
    (port,) = pool["ports"]
    assert options["environment_config"] == f"localhost:{port['containerPort']}"
    assert f"--service_port={port['containerPort']}" in pool["command"]


def test_versions_are_those_of_the_lock_file_and_of_the_tests() -> None:
    locked = re.search(r"^apache-beam(?:\[gcp\])?==([\d.]+)", (ROOT / "requirements.lock").read_text(), re.M)
    pom = (FOLDER / "flink-jars.xml").read_text()
    docker = (FOLDER / "flink.Dockerfile").read_text()
    assert locked is not None
    assert f"<version>{locked[1]}</version>" in pom
    tested = re.search(r"apache-flink-libraries==([\d.]+)", (ROOT / "tests/runners/flink-requirements.txt").read_text())
    assert tested is not None
    assert f"FROM flink:{tested[1]}-" in docker
    minor = tested[1].rpartition(".")[0]
    assert f"beam-runners-flink-{minor}" in pom
    assert _flink()["spec"]["flinkVersion"] == f"v{minor.replace('.', '_')}"
    for source in re.findall(r"^COPY (?!--from)(\S+)", docker, re.M):
        assert (ROOT / source).is_file()
