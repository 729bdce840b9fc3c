"""schemathesis against the description that the running sidecar serves, and what it cannot ask."""

from __future__ import annotations

import pathlib
import signal
import subprocess
import sys
import threading

import programs
from doors import DoorGate

# Refusals that no schema can tell: what fits, and when.
_CONFIG = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503", "504"]
negative_data_rejection.expected-statuses = ["400", "404", "405", "409", "411", "413", "415", "429", "503", "504"]
positive_data_acceptance.expected-statuses = ["2xx", "404", "409", "413", "429", "503", "504"]
"""


def test_the_door_does_as_its_description_says(impatient: DoorGate, tmp_path: pathlib.Path) -> None:
    config = tmp_path / "schemathesis.toml"
    config.write_text(_CONFIG)
    command = [str(pathlib.Path(sys.executable).parent / "schemathesis"), "--config-file", str(config), "run"]
    command += [f"http://{impatient.door}/openapi.yaml", "--phases", "examples,coverage,fuzzing"]
    command += ["--max-examples", "60", "--max-time", "45", "--generation-deterministic", "--no-color"]
    # A schema counts characters, the door bytes.
    command += ["--generation-codec", "ascii"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, cwd=tmp_path)
    for lease in programs.get_json(impatient.ready["admin"], "/leases?page_size=1000")["leases"]:
        impatient.ask("DELETE", "/v1/" + lease["name"])
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert "No issues found" in ran.stdout, ran.stdout[-2000:]


def test_sigterm_refuses_waiters_and_lets_holders_finish(tmp_path: pathlib.Path) -> None:
    gate = DoorGate(tmp_path)
    lease = gate.hold()
    waits: list[tuple[int, object, dict[str, str]]] = []
    body = {"model": "m", "demand": {"prompt_tokens": 1000}}
    waiter = threading.Thread(target=lambda: waits.append(gate.ask("POST", "/v1/admit", body)))
    waiter.start()
    gate.settles(1, 0, 1)
    gate.process.send_signal(signal.SIGTERM)
    waiter.join(20)
    status, said, headers = waits[0]
    assert (status, said["error"]["code"], headers["x-should-retry"]) == (503, "draining", "true")
    assert gate.running(), "somebody still holds"
    assert gate.ask("DELETE", lease)[1] == {"already_released": False}
    assert gate.process.wait(20) == 0
    audit = gate.audit()
    assert (audit["overruns"], audit["leaks"], audit["complete"]) == (0, 0, True)


def test_the_unix_door_is_for_the_group(gate: DoorGate) -> None:
    path = pathlib.Path(gate.unix_door.removeprefix("unix:"))
    assert path.stat().st_mode & 0o777 == 0o660
    assert programs.wait_for("the socket", path.is_socket)[0]
