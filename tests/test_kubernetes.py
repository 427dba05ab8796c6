"""deploy/kubernetes: the RayJob is one that KubeRay and Kubernetes take, as far as that can be known without a cluster.

The job's own fields are held to a schema, written after KubeRay's API reference (v1.6.2, the fields in use, the rest is
unknown); its pods to the models that Kubernetes' Python client is generated with from the API's own description.
"""

from __future__ import annotations

import copy
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from kubernetes.client import models
from kubernetes.utils import parse_quantity

FILE = Path(__file__).parents[1] / "deploy" / "kubernetes" / "rayjob.yaml"
JOB: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))


def closed(required: str, **fields: Any) -> dict[str, Any]:
    """A schema of an object with these fields and no others."""
    return {"type": "object", "required": required.split(), "properties": fields, "additionalProperties": False}


TEXT, WHOLE, TRUTH, POD = {"type": "string"}, {"type": "integer", "minimum": 0}, {"type": "boolean"}, {"type": "object"}
TEXTS = {"type": "object", "additionalProperties": TEXT}
HEAD = closed("rayStartParams template", rayStartParams=TEXTS, template=POD, serviceType=TEXT, enableIngress=TRUTH)
WORKERS = closed(
    "groupName minReplicas maxReplicas rayStartParams template",
    groupName=TEXT, replicas=WHOLE, minReplicas=WHOLE, maxReplicas=WHOLE, numOfHosts=WHOLE, rayStartParams=TEXTS,
    template=POD,
)  # fmt: skip
CLUSTER = closed(
    "headGroupSpec",
    rayVersion=TEXT,
    authOptions=closed("", mode={"enum": ["disabled", "token"]}, secretName=TEXT),
    enableInTreeAutoscaling=TRUTH,
    headGroupSpec=HEAD,
    workerGroupSpecs={"type": "array", "items": WORKERS},
)
SPEC = closed(
    "",
    suspend=TRUTH, shutdownAfterJobFinishes=TRUTH, ttlSecondsAfterFinished=WHOLE, backoffLimit=WHOLE, entrypoint=TEXT,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    activeDeadlineSeconds=WHOLE, entrypointNumCpus={"type": "number"}, entrypointNumGpus={"type": "number"},
    entrypointResources=TEXT, runtimeEnvYAML=TEXT, rayClusterSpec=CLUSTER,
)  # fmt: skip
RAY_JOB = closed(
    "apiVersion kind metadata spec",
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=closed("name", name=TEXT, labels=TEXTS),
    spec=SPEC,
)


def misfits(kind: str, value: Any, where: str) -> Iterator[str]:
    """What of a value is not of Kubernetes' type, a name like `V1Container`, `list[V1Container]` or `str`."""
    if inner := re.fullmatch(r"[Ll]ist\[(.+)\]", kind):
        if not isinstance(value, list):
            yield f"{where}: not a list"
            return
        for place, each in enumerate(value):
            yield from misfits(inner[1], each, f"{where}[{place}]")
    elif inner := re.fullmatch(r"[Dd]ict[\[(]str, (.+)[\])]", kind):
        for key, each in value.items():
            yield from misfits(inner[1], each, f"{where}.{key}")
    elif (model := getattr(models, kind, None)) is not None:
        names = {stored: name for name, stored in model.attribute_map.items()}
        for key, each in value.items():
            if key in names:
                yield from misfits(model.openapi_types[names[key]], each, f"{where}.{key}")
            else:
                yield f"{where}.{key}: unknown to {kind}"
    elif type(value).__name__ != kind:
        yield f"{where}: {type(value).__name__} instead of {kind}"


def groups() -> list[dict[str, Any]]:
    """The head's group and the workers'."""
    cluster = JOB["spec"]["rayClusterSpec"]
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def test_the_job_has_kuberays_fields_and_no_others() -> None:
    """A key that is misspelt would be refused by the cluster, or dropped without a word."""
    jsonschema.Draft202012Validator(RAY_JOB).validate(JOB)
    wrong = copy.deepcopy(JOB)
    wrong["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["minReplica"] = 2
    with pytest.raises(jsonschema.ValidationError, match="minReplica"):
        jsonschema.Draft202012Validator(RAY_JOB).validate(wrong)


def test_its_pods_are_kubernetes() -> None:
    """Every key and every type of the pods' templates, by Kubernetes' own models."""
    for group in groups():
        assert list(misfits("V1PodTemplateSpec", group["template"], "template")) == []
    wrong = copy.deepcopy(groups()[0]["template"])
    wrong["spec"]["containers"][0]["volumeMount"] = wrong["spec"]["containers"][0].pop("volumeMounts")
    wrong["spec"]["containers"][0]["env"][0]["value"] = 0
    assert [found.rpartition(".")[2] for found in misfits("V1PodTemplateSpec", wrong, "template")] == [
        "value: int instead of str",
        "volumeMount: unknown to V1Container",
    ]


def test_the_driver_finds_its_folder_and_no_worker_needs_one() -> None:
    """What is mounted is a volume of the pod; the command uses what the head mounts; a slot is a core of a worker."""
    for group in groups():
        spec = group["template"]["spec"]
        volumes = {volume["name"] for volume in spec.get("volumes", [])}
        for container in spec["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes
            for asked in container["resources"].values():
                assert all(parse_quantity(amount) > 0 for amount in asked.values())
    head = groups()[0]["template"]["spec"]["containers"][0]
    mounted = [mount["mountPath"] for mount in head["volumeMounts"]]
    shell, flag, command = shlex.split(JOB["spec"]["entrypoint"])
    assert (shell, flag) == ("sh", "-c")
    assert [path for path in re.findall(r"/[\w/]+", command) if any(path.startswith(at) for at in mounted)] == [
        "/study",
        "/etc/tuner/study",
    ]


def test_the_driver_runs_on_the_head_which_trains_nothing() -> None:
    """By a resource that the head alone has, in the form in which `ray start` and KubeRay read it."""
    head = groups()[0]["rayStartParams"]
    assert json.loads(shlex.split(head["resources"])[0]) == json.loads(JOB["spec"]["entrypointResources"])
    assert head["num-cpus"] == "0"
    assert all("resources" not in group["rayStartParams"] for group in groups()[1:])
