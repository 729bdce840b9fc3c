"""Configs of the models that the tests load: targets, and gates before them."""

from __future__ import annotations

BACKEND = "vramgate_target"

LLM_INTERFACE = """
input [{ name: "PROMPT" data_type: TYPE_STRING dims: [1] }]
output [{ name: "TOKEN" data_type: TYPE_STRING dims: [1] }]
model_transaction_policy { decoupled: true }
"""
ECHO_INTERFACE = """
input [{ name: "INPUT0" data_type: TYPE_STRING dims: [-1] }]
output [{ name: "OUTPUT0" data_type: TYPE_STRING dims: [-1] }]
"""
CPU = "instance_group [{ kind: KIND_CPU count: 1 }]\n"


def target(interface: str = LLM_INTERFACE, more: str = "") -> str:
    return f'backend: "{BACKEND}"\n{interface}{CPU}{more}'


def gate(target_model: str, plugin: str, interface: str = "", more: str = "", /, **parameters: object) -> str:
    """A gate before `target_model`; without an interface it is auto-completed."""
    settings = {"TARGET_MODEL": target_model, "GATE": plugin, **parameters}
    text = "".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n' for key, value in settings.items()
    )
    return f'backend: "vramgate"\n{text}{interface}{more}'
