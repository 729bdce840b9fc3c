"""Types what examples/{nginx,litellm}/README.md print after `$ `, with ports of this test's in place of theirs."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading

import pytest
from doors import OFFLINE, ROOT, Backend, free_port

PATIENCE_S = 150


def commands(readme: str) -> str:
    """The commands of all blocks, with their further lines."""
    lines, fenced, typing = [], False, False
    for line in readme.splitlines():
        if line.startswith("```"):
            fenced, typing = not fenced, False
        elif fenced and line.startswith("$ "):
            lines.append(line[2:])
            typing = True
        elif fenced and typing and line.startswith("    "):
            lines.append(line)
        elif fenced:
            typing = False
    # What was put into the background ends with the reader's shell, the sidecar last.
    end = "trap 'status=$?; for job in $(jobs -p | tac); do kill $job; wait $job || true; done; exit $status' EXIT"
    return "\n".join(["set -e", end, *lines, ""])


def copied(tree: pathlib.Path, ports: dict[str, str]) -> None:
    """What the examples name, with other ports; nginx's module where it was unpacked."""
    for name in ("examples", "plugin"):
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    modules = os.environ["NGINX_ROOT"] + "/usr/lib/nginx/modules"
    for path in [*(tree / "examples" / "nginx").iterdir(), *(tree / "examples" / "litellm").iterdir()]:
        text = path.read_text().replace("/usr/lib/nginx/modules", modules)
        for old, new in ports.items():
            text = text.replace(f"127.0.0.1:{old}", f"127.0.0.1:{new}").replace(f"--port {old}", f"--port {new}")
        path.write_text(text)


def answering(backend: Backend) -> None:
    def run() -> None:
        while True:
            backend.arrived.get().end()

    threading.Thread(target=run, daemon=True).start()


@pytest.mark.parametrize("example", ["nginx", "litellm"])
def test_the_example_runs_as_printed(example: str, tmp_path: pathlib.Path, backend: Backend) -> None:
    copied(tmp_path, {"8000": str(backend.port), "8080": str(free_port()), "9444": str(free_port())})
    answering(backend)
    readme = (tmp_path / "examples" / example / "README.md").read_text()
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "vramgate").symlink_to(os.environ["VRAMGATE"])
    (programs / "nginx").symlink_to(os.environ["NGINX_ROOT"] + "/usr/sbin/nginx")
    # Into a directory of its own, not into the environment that other tests share.
    packages = tmp_path / "packages"
    pip = programs / "pip"
    pip.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pip "$@" --target "{packages}"\n')
    pip.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(packages),
        **OFFLINE,
    }
    with (tmp_path / "err").open("wb") as err, (tmp_path / "out").open("wb") as out:
        command = ["bash", "-c", commands(readme)]
        shell = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=out, stderr=err, start_new_session=True)
        try:
            status = shell.wait(PATIENCE_S)
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)
    said = (tmp_path / "out").read_text()
    assert status == 0, (tmp_path / "err").read_text()[-3000:] + said[-2000:]
    assert '"chat.completion"' in said
    printed = [line for line in readme.splitlines() if line.startswith("{")]
    assert printed
    for line in printed:
        assert line in said
    assert "0 held, 0 lingering, 0 waiting" in said
