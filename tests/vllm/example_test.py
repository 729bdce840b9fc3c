"""Types what examples/vllm/README.md prints after `$ `, in a directory that has what the root of the tree has."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = ROOT / "examples" / "vllm" / "README.md"
PATIENCE_S = 150


def script() -> str:
    """The commands of all blocks, and after each what the reader is told that it prints."""
    lines, fenced, typing = [], False, False
    for line in README.read_text().splitlines():
        if line.startswith("```"):
            fenced = not fenced
            typing = False
        elif fenced and line.startswith("$ "):
            lines.append(line[2:])
            typing = True
        elif fenced and typing and line.startswith("    "):
            lines.append(line)
        elif fenced:
            typing = False
    # What was put into the background ends with the reader's shell.
    return "set -e\ntrap 'trap - EXIT; kill $(jobs -p) 2>/dev/null; wait' EXIT\n" + "\n".join(lines) + "\n"


def printed() -> list[str]:
    """The lines that the README says come back."""
    return [line for line in README.read_text().splitlines() if line.startswith("{")]


def test_the_example_runs_as_printed(tmp_path: pathlib.Path) -> None:
    for entry in ROOT.iterdir():
        if entry.name not in ("build", ".git"):
            (tmp_path / entry.name).symlink_to(entry)
    # Relative, as the README has it: what is fetched and made goes below it.
    (tmp_path / "plugin").unlink()
    subprocess.run(["cp", "-r", str(ROOT / "plugin"), str(tmp_path / "plugin")], check=True)
    (tmp_path / "examples").unlink()
    subprocess.run(["cp", "-r", str(ROOT / "examples"), str(tmp_path / "examples")], check=True)
    bin_directory = tmp_path / "bin"
    bin_directory.mkdir()
    (bin_directory / "vramgate").symlink_to(os.environ["VRAMGATE"])
    # Into a directory of its own, not into the environment that other tests share.
    packages = tmp_path / "packages"
    pip = bin_directory / "pip"
    pip.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m pip "$@" --target "{packages}"\n')
    pip.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{bin_directory}:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(packages),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    with (tmp_path / "err").open("wb") as err, (tmp_path / "out").open("wb") as out:
        shell = subprocess.Popen(
            ["bash", "-c", script()], cwd=tmp_path, env=environment, stdout=out, stderr=err, start_new_session=True
        )
        try:
            status = shell.wait(PATIENCE_S)
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)
    said = (tmp_path / "out").read_text()
    assert status == 0, (tmp_path / "err").read_text()[-3000:] + said[-2000:]
    assert '"object":"text_completion"' in said
    for line in printed():
        assert line in said
    assert "0 held, 0 lingering, 0 waiting" in said
