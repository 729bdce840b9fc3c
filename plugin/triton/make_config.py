#!/usr/bin/env python3
"""Writes the config.pbtxt of a gate model: the interface of its target, and where the gate is.

  make_config.py http://HOST:PORT/v2/models/TARGET [--set KEY=VALUE ...]   asks a server that has the target
  make_config.py REPOSITORY/TARGET/config.pbtxt    [--set KEY=VALUE ...]   reads its own; needs tritonclient[grpc]

For a static start, at which Triton does not tell a gate model what its target looks like; a gate that is loaded later,
by the repository API, needs none of this. docs/triton.md lists the keys of --set.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
import typing
import urllib.error
import urllib.request

MOST_BYTES = 16 * 2**20
# What a client sees of a tensor. A reshape, or a file of labels, is the target's own affair.
TENSOR_KEYS = ("name", "data_type", "format", "dims", "is_shape_tensor", "allow_ragged_batch", "optional")
DEFAULTS = {"format": "FORMAT_NONE", "is_shape_tensor": False, "allow_ragged_batch": False, "optional": False}

Config = dict[str, typing.Any]


class Failed(Exception):
    """What to tell the user."""


def from_server(url: str) -> Config:
    url = url.rstrip("/").removesuffix("/config") + "/config"
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            config = json.loads(response.read(MOST_BYTES))
    except (OSError, ValueError) as error:
        said = error.read().decode(errors="replace") if isinstance(error, urllib.error.HTTPError) else ""
        raise Failed(f"{url}: {error} {said}; is the target loaded, and this its server's HTTP port?") from error
    if not isinstance(config, dict):
        raise Failed(f"{url}: is no model's config")
    return config


def from_file(path: pathlib.Path) -> Config:
    try:
        from google.protobuf import json_format, text_format  # type: ignore[import-untyped,unused-ignore]
        from tritonclient.grpc import model_config_pb2  # type: ignore[import-untyped]
    except ImportError as error:
        raise Failed(
            f"{error}: to read a config.pbtxt: pip install tritonclient[grpc]; or give its server's URL"
        ) from error
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise Failed(f"{path}: {error}") from error
    try:
        message = text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise Failed(f"{path}: {error}") from error
    return dict(json_format.MessageToDict(message, preserving_proto_field_name=True))


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=True)


def tensor(kind: str, config: Config) -> str:
    words = []
    for key in TENSOR_KEYS:
        value = config.get(key, DEFAULTS.get(key))
        if value == DEFAULTS.get(key):
            continue
        if key == "name":
            words.append(f"name: {quoted(value)}")
        elif key == "dims":
            words.append(f"dims: [{', '.join(str(int(size)) for size in value)}]")
        else:
            words.append(f"{key}: {str(value).lower() if isinstance(value, bool) else value}")
    return f"{kind} {{ {' '.join(words)} }}"


def gate_config(target: Config, settings: dict[str, str]) -> str:
    """The text of a gate model's config.pbtxt before that target."""
    lines = ['backend: "vramgate"', f"max_batch_size: {int(target.get('max_batch_size', 0))}"]
    for kind in ("input", "output"):
        tensors = target.get(kind) or []
        if not tensors:
            raise Failed(
                f"the target's config has no {kind}: it is completed when it is loaded; ask its server instead"
            )
        lines += [tensor(kind, entry) for entry in tensors]
    if target.get("model_transaction_policy", {}).get("decoupled", False):
        lines.append("model_transaction_policy { decoupled: true }")
    lines.append("instance_group { kind: KIND_CPU count: 1 }")
    lines += [
        f"parameters {{ key: {quoted(key)} value {{ string_value: {quoted(value)} }} }}"
        for key, value in settings.items()
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="http://HOST:PORT/v2/models/TARGET, or the path of the target's config.pbtxt")
    parser.add_argument(
        "--target", help="the target's name, where it is not the last part of the source's directory or URL"
    )
    parser.add_argument(
        "--gate", default="unix:/run/vramgate/plugin.sock", help="the sidecar's plugin socket (default: %(default)s)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a parameter of the gate model")
    arguments = parser.parse_args()

    is_url = arguments.source.startswith(("http://", "https://"))
    try:
        config = from_server(arguments.source) if is_url else from_file(pathlib.Path(arguments.source))
        directory = pathlib.Path(arguments.source).absolute().parent.name
        target = arguments.target or config.get("name") or directory
        settings = {"TARGET_MODEL": str(target), "GATE": str(arguments.gate)}
        for setting in arguments.set:
            key, equals, value = setting.partition("=")
            if not equals or not key:
                raise Failed(f"--set {setting}: is not KEY=VALUE")
            settings[key] = value
        sys.stdout.write(gate_config(config, settings))
    except Failed as failed:
        print(f"make_config.py: {failed}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
