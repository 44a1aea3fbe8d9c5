"""The kustomize base: rendered by a small reading of it everywhere, by the real tool where it is installed, and in step
with the configuration.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from fencepost.config import Config, load_config

BASE = Path(__file__).parents[2] / "deploy" / "kubernetes"
ALIVE = re.compile(r"stat -c %Y (\S+)\) \)\) -lt (\d+)")
Manifest = dict[str, Any]


def render(base: Path) -> list[Manifest]:
    """What kustomize makes of the base, in the parts that it uses: resources, labels with selectors, generated
    ConfigMaps (without the hash in names).
    """
    root: Manifest = yaml.safe_load((base / "kustomization.yaml").read_text())
    unknown = set(root) - {"apiVersion", "kind", "labels", "resources", "configMapGenerator"}
    assert not unknown, f"this reading of kustomize does not know {unknown}"
    manifests: list[Manifest] = [
        document
        for name in root["resources"]
        for document in yaml.safe_load_all((base / name).read_text())
        if document is not None
    ]
    for generator in root["configMapGenerator"]:
        data = {name: (base / name).read_text() for name in generator["files"]}
        manifests.append(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data}
        )
    pairs = {key: value for labels in root["labels"] for key, value in labels["pairs"].items()}
    for manifest in manifests:
        manifest["metadata"].setdefault("labels", {}).update(pairs)
        if manifest["kind"] == "Deployment":
            manifest["spec"]["template"].setdefault("metadata", {}).setdefault("labels", {}).update(pairs)
            manifest["spec"].setdefault("selector", {}).setdefault("matchLabels", {})
        if "selector" in manifest.get("spec", {}):  # the tool makes one for a Deployment only
            manifest["spec"]["selector"]["matchLabels"].update(pairs)
    return manifests


def one(manifests: list[Manifest], kind: str) -> Manifest:
    """The only manifest of a kind."""
    (found,) = [manifest for manifest in manifests if manifest["kind"] == kind]
    return found


def config_of(manifests: list[Manifest]) -> Config:
    """The configuration that the worker would read, with its Secret's variables."""
    (text,) = one(manifests, "ConfigMap")["data"].values()
    values = tomllib.loads(text)
    return load_config(database_url="postgresql://h/d", redis_url="redis://h", **values)


def faults(manifests: list[Manifest]) -> list[str]:
    """What is wrong with the rendered base, as the cluster or a worker would find out."""
    found = list[str]()
    deployment, budget, config_map = (
        one(manifests, kind) for kind in ("Deployment", "PodDisruptionBudget", "ConfigMap")
    )
    spec, labels = deployment["spec"], deployment["spec"]["template"]["metadata"]["labels"]
    pod = spec["template"]["spec"]
    (worker,) = pod["containers"]
    config = config_of(manifests)
    for manifest in (deployment, budget):
        wanted = manifest["spec"].get("selector", {}).get("matchLabels", {})
        if not wanted or not wanted.items() <= labels.items():
            found.append(f"{manifest['kind']} selects other pods")
    if not pod["terminationGracePeriodSeconds"] > config.drain_seconds + 10:
        found.append("terminationGracePeriodSeconds leaves a drain no 10 s to hand back")
    if config.env != "production":
        found.append("env is not production")
    for name in ("startupProbe", "livenessProbe"):
        match = ALIVE.search(" ".join(worker[name]["exec"]["command"]))
        if match is None or match[1] != config.health_file:
            found.append(f"{name} looks at another file than health_file")
        elif not int(match[2]) > 3 * config.renewal_seconds:
            found.append(f"{name} leaves no room for three renewals")
    mounts = {mount["mountPath"]: mount for mount in worker["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in mounts.values():
        if mount["name"] not in volumes:
            found.append(f"volume {mount['name']} is not there")
    health_mount = mounts.get(str(Path(config.health_file).parent))
    if health_mount is None or health_mount.get("readOnly"):
        found.append("health_file is not on a volume that can be written")
    environ = {entry["name"]: entry for entry in worker["env"]}
    secrets = {name for name, entry in environ.items() if "secretKeyRef" in entry.get("valueFrom", {})}
    if secrets != {"FENCEPOST_DATABASE_URL", "FENCEPOST_REDIS_URL"}:
        found.append("the servers' URLs do not come from a Secret")
    file = Path(environ["FENCEPOST_CONFIG"]["value"])
    used = volumes[mounts[str(file.parent)]["name"]].get("configMap", {}).get("name")
    if used != config_map["metadata"]["name"] or file.name not in config_map["data"]:
        found.append("FENCEPOST_CONFIG is not in the mounted ConfigMap")
    if pod.get("enableServiceLinks", True):
        found.append("enableServiceLinks puts variables of other services into the environment")
    if not pod["securityContext"]["runAsNonRoot"] or worker["securityContext"]["allowPrivilegeEscalation"]:
        found.append("runs with more rights than it needs")
    return found


def test_the_base_is_in_step_with_the_configuration() -> None:
    """Probes, grace, mounts, selectors, secrets."""
    assert faults(render(BASE)) == []


@pytest.mark.parametrize(
    ("file", "line", "planted"),
    [
        ("deployment.yaml", "terminationGracePeriodSeconds: 45", "terminationGracePeriodSeconds: 30"),
        ("deployment.yaml", "enableServiceLinks: false", "enableServiceLinks: true"),
        ("deployment.yaml", "runAsNonRoot: true", "runAsNonRoot: false"),
        ("deployment.yaml", "mountPath: /run/fencepost", "mountPath: /run/elsewhere"),
        ("deployment.yaml", "value: /etc/fencepost/fencepost.toml", "value: /etc/fencepost/other.toml"),
        ("deployment.yaml", "        - name: run\n          emptyDir:", "        - name: ran\n          emptyDir:"),
        ("poddisruptionbudget.yaml", "  selector:\n    matchLabels:", "  other:\n    matchLabels:"),
        ("fencepost.toml", 'env = "production"', ""),
        ("fencepost.toml", "processes = 1", "drain_seconds = 60"),
    ],
)
def test_a_planted_fault_is_found(tmp_path: Path, file: str, line: str, planted: str) -> None:
    """Each of them, alone."""
    base = tmp_path / "base"
    shutil.copytree(BASE, base)
    text = (base / file).read_text()
    assert line in text
    (base / file).write_text(text.replace(line, planted))
    assert len(faults(render(base))) == 1


@pytest.mark.parametrize("probe", ["/run/fencepost/other", "-lt 5"])
def test_a_planted_probe_is_found(tmp_path: Path, probe: str) -> None:
    """Both probes look at the file that the worker touches, and give it time."""
    base = tmp_path / "base"
    shutil.copytree(BASE, base)
    text = (base / "deployment.yaml").read_text()
    text = text.replace("-lt 20", probe) if probe.startswith("-lt") else text.replace("/run/fencepost/alive", probe)
    (base / "deployment.yaml").write_text(text)
    assert len(faults(render(base))) == 2


def kustomize_command() -> list[str] | None:
    """The real tool, alone or as part of kubectl."""
    if shutil.which("kustomize"):
        return ["kustomize", "build"]
    return ["kubectl", "kustomize"] if shutil.which("kubectl") else None


@pytest.mark.skipif(
    kustomize_command() is None, reason="neither kustomize nor kubectl is installed: only our own reading ran"
)
def test_kustomize_makes_the_same_of_it() -> None:
    """Our reading and the tool's output are equal but for the hash that the tool puts into the ConfigMap's name."""
    command = [*(kustomize_command() or []), str(BASE)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rendered: list[Manifest] = list(
        yaml.safe_load_all(re.sub(r"fencepost-config-[a-z0-9]{10}\b", "fencepost-config", answer.stdout))
    )
    assert "fencepost-config-" in answer.stdout
    assert faults(rendered) == []

    def by_kind(manifests: list[Manifest]) -> dict[str, Manifest]:
        return {manifest["kind"]: manifest for manifest in manifests}

    assert by_kind(rendered) == by_kind(render(BASE))
