"""The FlinkDeployment of configs/kubernetes fits the schema of the Flink Kubernetes Operator."""

import copy
import zipfile
from typing import Any

import jsonschema
import pytest
import yaml

from tests.runners.install import OPERATOR
from tests.unit.test_manifests import FOLDER, documents

pytestmark = pytest.mark.flink
_CRD = "META-INF/fabric8/flinkdeployments.flink.apache.org-v1.yml"


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """Of the version v1beta1, in which fields that it does not know are errors."""
    with zipfile.ZipFile(OPERATOR) as jar:
        versions = yaml.load(jar.read(_CRD), yaml.CSafeLoader)["spec"]["versions"]
    (found,) = [version["schema"]["openAPIV3Schema"] for version in versions if version["name"] == "v1beta1"]
    strict: dict[str, Any] = _strict(found)
    strict["properties"] |= {"apiVersion": {"const": "flink.apache.org/v1beta1"}, "kind": {"const": "FlinkDeployment"}}
    strict["properties"]["metadata"] = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"pattern": r"^[a-z]([-a-z\d]{0,43}[a-z\d])?$"}},
    }
    # The schema names nothing that must be there; these are what the operator refuses to go without, and the image: its
    # own choice would lack Beam's jars.
    strict["required"] = ["apiVersion", "kind", "metadata", "spec"]
    spec = strict["properties"]["spec"]
    spec["required"] = ["image", "flinkVersion", "serviceAccount", "jobManager", "taskManager"]
    for name in ("jobManager", "taskManager"):
        spec["properties"][name]["required"] = ["resource"]
        spec["properties"][name]["properties"]["resource"]["required"] = ["memory"]
    return strict


def _strict(schema: Any) -> Any:
    """Kubernetes drops fields that a schema does not name; here they are errors."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    return found


def test_the_cluster_fits_the_operators_schema(schema: dict[str, Any]) -> None:
    (cluster,) = documents(FOLDER / "flink-cluster.yaml")
    jsonschema.Draft202012Validator(schema).validate(cluster)


@pytest.mark.parametrize("damage", ["misspelt", "type", "version", "pod", "setting", "name"])
def test_a_damaged_cluster_is_refused(damage: str, schema: dict[str, Any]) -> None:
    (found,) = documents(FOLDER / "flink-cluster.yaml")
    cluster = copy.deepcopy(found)
    if damage == "misspelt":
        cluster["spec"]["taskmanager"] = cluster["spec"].pop("taskManager")
    elif damage == "type":
        cluster["spec"]["taskManager"]["replicas"] = "two"
    elif damage == "version":
        cluster["spec"]["flinkVersion"] = "v9_9"
    elif damage == "pod":
        cluster["spec"]["taskManager"]["podTemplate"]["spec"]["containers"][0]["volumeMount"] = []
    elif damage == "setting":
        cluster["spec"]["flinkConfiguration"]["taskmanager.numberOfTaskSlots"] = 1
    else:
        cluster["metadata"]["name"] = "Ruiji_Flink"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(cluster)


@pytest.mark.parametrize(
    "path",
    [
        "spec",
        "spec.image",
        "spec.flinkVersion",
        "spec.serviceAccount",
        "spec.taskManager.resource.memory",
        "metadata.name",
    ],
)
def test_a_cluster_that_lacks_something_is_refused(path: str, schema: dict[str, Any]) -> None:
    (cluster,) = documents(FOLDER / "flink-cluster.yaml")
    *folders, last = path.split(".")
    node = cluster
    for name in folders:
        node = node[name]
    del node[last]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(cluster)
