"""configs/kubernetes: each manifest fits its schema, and all fit together, the command line and the lock file."""

import copy
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipelines.cli import parser
from sim_transforms.errors import UsageError
from sim_transforms.options import check_reach, pipeline_options
from sim_transforms.settings.loader import load_settings
from tests.runners.flink import _OPENS, _SIZES, FlinkCluster

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "configs" / "kubernetes"
# The oldest with all that is used here (podFailurePolicy), and the newest that is known.
SCHEMAS = ("1.31", kubernetes_validate.latest_version())
SHARED, CONFIG = "/mnt/shared", "/etc/ruiji/catalog.yaml"
JOBS = {"run.yaml": ["doctor", "run"], "reindex.yaml": ["reindex"]}


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def _flink() -> dict[str, Any]:
    (found,) = documents(FOLDER / "flink-cluster.yaml")
    return found


def _templates() -> list[dict[str, Any]]:
    """Of the operator's pods, as manifests of their own: its schema demands less than Kubernetes does."""
    managers = {name: _flink()["spec"][name]["podTemplate"] for name in ("jobManager", "taskManager")}
    return [
        {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": name.lower()}, "template": template}
        for name, template in managers.items()
    ]


def _manifests() -> list[dict[str, Any]]:
    """All of Kubernetes' own kinds."""
    paths = [*sorted(FOLDER.glob("*.yaml")), ROOT / "configs" / "schedules" / "cronjob.yaml"]
    found = [document for path in paths for document in documents(path)]
    own = [d for d in found if d.get("kind") not in (None, "Kustomization", "FlinkDeployment")]
    return [*own, *_templates()]


MANIFESTS = _manifests()


def _named(kind: str, name: str) -> dict[str, Any]:
    (found,) = [m for m in MANIFESTS if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


def _pods() -> dict[str, dict[str, Any]]:
    """Specs of all pods of configs/kubernetes."""
    reindex = documents(FOLDER / "reindex.yaml")[0]["spec"]["jobTemplate"]
    found = {
        "run": _named("Job", "ruiji-run"),
        "job server": _named("Deployment", "ruiji-job-server"),
        "reindex": reindex,
    }
    pods = {name: manifest["spec"]["template"]["spec"] for name, manifest in found.items()}
    return {**pods, **{each["metadata"]["name"]: each["template"]["spec"] for each in _templates()}}


def _containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


@pytest.mark.parametrize("version", SCHEMAS)
@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda m: f"{m['kind']} {m['metadata']['name']}")
def test_manifests_fit_their_schemas(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", SCHEMAS)
@pytest.mark.parametrize("damage", ["misspelt", "type", "missing"])
def test_a_damaged_manifest_is_refused(damage: str, version: str) -> None:
    manifest = copy.deepcopy(_named("Job", "ruiji-run"))
    pod = manifest["spec"]["template"]["spec"]
    if damage == "misspelt":
        pod["containers"][0]["imagePullPolicies"] = "Always"
    elif damage == "type":
        manifest["spec"]["backoffLimit"] = "three"
    else:
        del pod["containers"][0]["name"]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("damage", ["misspelt", "type", "missing"])
def test_a_damaged_pod_of_the_cluster_is_refused(damage: str) -> None:
    template = copy.deepcopy(_named("PodTemplate", "taskmanager"))
    (_, pool) = template["template"]["spec"]["containers"]
    if damage == "misspelt":
        pool["readynessProbe"] = pool.pop("readinessProbe")
    elif damage == "type":
        pool["ports"][0]["containerPort"] = "50000"
    else:
        del pool["volumeMounts"][0]["mountPath"]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(template, SCHEMAS[0], strict=True)


def test_every_file_is_applied() -> None:
    (kustomization,) = documents(FOLDER / "kustomization.yaml")
    maps = kustomization["configMapGenerator"]
    named = {*kustomization["resources"], *(file for each in maps for file in each["files"]), "kustomization.yaml"}
    named |= set(kustomization["configurations"])
    assert named == {path.name for path in FOLDER.glob("*.yaml")}
    images = {image["name"] for image in kustomization["images"]}
    used = {c["image"].rpartition(":")[0] for pod in _pods().values() for c in _containers(pod) if "image" in c}
    assert used == images
    assert _flink()["spec"]["image"].rpartition(":")[0] in images
    (further,) = documents(FOLDER / "flink-images.yaml")
    assert further == {"images": [{"path": "spec/image", "kind": _flink()["kind"]}]}


@pytest.mark.parametrize(("name", "commands"), JOBS.items())
def test_containers_run_commands_that_there_are(name: str, commands: list[str]) -> None:
    (manifest,) = documents(FOLDER / name)
    job = manifest["spec"].get("jobTemplate", manifest)["spec"]
    containers = _containers(job["template"]["spec"])
    given = [parser().parse_known_args(container["args"]) for container in containers]
    assert [(known.command, known.config, further) for known, further in given] == [(c, CONFIG, []) for c in commands]
    for container in containers:
        # The image's own entry point is for Dataflow's workers.
        assert container["command"] == ["ruiji"]
        (config,) = [mount for mount in container["volumeMounts"] if mount["name"] == "config"]
        assert f"{config['mountPath']}/catalog.yaml" == CONFIG
    # Of any container: without a name.
    rules = job["podFailurePolicy"]["rules"]
    assert rules[0] == {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [UsageError.exit_code]}}
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_one_reindex_runs_at_a_time_and_ends() -> None:
    (cron,) = documents(FOLDER / "reindex.yaml")
    assert cron["spec"]["concurrencyPolicy"] == "Forbid"
    assert cron["spec"]["startingDeadlineSeconds"] < 24 * 3600
    assert cron["spec"]["jobTemplate"]["spec"]["activeDeadlineSeconds"] < 24 * 3600


@pytest.mark.parametrize("name", _pods())
def test_pods_keep_to_the_restricted_standard_and_say_what_they_take(name: str) -> None:
    pod = _pods()[name]
    context = pod["securityContext"]
    assert (context["runAsNonRoot"], context["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    # One user writes the files that all read: that of Flink's image.
    assert {context[key] for key in ("runAsUser", "runAsGroup", "fsGroup")} == {9999}
    for container in _containers(pod):
        allowed = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert container["securityContext"] == allowed
        if container["name"] == "flink-main-container":
            # The operator sets these.
            assert "resources" not in container
            continue
        resources = container["resources"]
        assert (resources["requests"].keys(), resources["limits"].keys()) == ({"cpu", "memory"}, {"memory"})


def test_probes_ask_ports_that_are_open() -> None:
    probed = [container for pod in _pods().values() for container in _containers(pod) if "readinessProbe" in container]
    assert [container["name"] for container in probed] == ["job-server", "worker-pool"]
    for container in probed:
        assert container["readinessProbe"]["tcpSocket"]["port"] in {port["name"] for port in container["ports"]}


def test_command_and_workers_have_one_service_account() -> None:
    (account,) = documents(FOLDER / "service-account.yaml")
    name = account["metadata"]["name"]
    assert {_pods()[pod]["serviceAccountName"] for pod in ("run", "reindex")} == {name}
    assert _flink()["spec"]["flinkConfiguration"]["kubernetes.taskmanager.service-account"] == name


def test_volumes_are_there_and_the_shared_one_has_one_path() -> None:
    for pod in _pods().values():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert volumes["shared"]["persistentVolumeClaim"]["claimName"] == "ruiji-shared"
        for container in _containers(pod):
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            assert mounts.keys() <= volumes.keys()
            assert mounts["shared"] == SHARED
    assert _named("PersistentVolumeClaim", "ruiji-shared")["spec"]["accessModes"] == ["ReadWriteMany"]


def test_configuration_goes_with_the_cluster() -> None:
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


def test_jobs_have_the_options_of_those_of_the_tests(tmp_path: Path) -> None:
    tried = {flag.removeprefix("--").partition("=")[0] for flag in FlinkCluster(tmp_path).flags}
    section = load_settings(str(FOLDER / "catalog.yaml"), (), None, None).beam
    assert section.keys() == {*tried, "shared_filesystem"}
    for name in ("runner", "environment_type", "environment_cache_millis", "parallelism"):
        assert f"--{name}={section[name]}" in FlinkCluster(tmp_path).flags


def test_the_cluster_is_set_up_as_the_one_of_the_tests() -> None:
    spec = _flink()["spec"]
    configuration = spec["flinkConfiguration"]
    sizes = {name: configuration[name] for name in _SIZES if "network" in name}
    assert sizes == {name: size for name, size in _SIZES.items() if "network" in name}
    assert configuration["env.java.opts.all"].split() == _OPENS
    (server,) = _pods()["job server"]["containers"]
    assert [argument for argument in server["command"] if argument.startswith("--add-opens")] == _OPENS
    assert configuration["classloader.resolve-order"] == "parent-first"
    assert configuration["restart-strategy.type"] == "fixed-delay"
    # The operator merges a common template into these by place.
    assert "podTemplate" not in spec


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
        assert f"!{source}" in (FOLDER / "flink.Dockerfile.dockerignore").read_text().splitlines()
