"""Types what examples/triton/README.md says, with other paths and ports, and compares the answers."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import typing

import pytest

from programs import ROOT, Port, Program, http_json, paths, wait_for

README = (ROOT / "examples" / "triton" / "README.md").read_text()


def commands() -> list[tuple[str, str]]:
    """Each command after `$ `, and what it is said to print."""
    blocks = re.findall(r"^```\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    parts = [part for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]]
    return [typing.cast("tuple[str, str]", part.split("\n", 1)) for part in parts]


class Place:
    """A directory in which the README's paths exist, with ports of its own."""

    def __init__(self, directory: pathlib.Path, version: str):
        self.directory = directory
        self.ports = Port(), Port()
        server = paths().servers[version] / "pytriton" / "tritonserver"
        (directory / "opt" / "backends").mkdir(parents=True)
        (directory / "opt" / "backends" / "python").symlink_to(server / "backends" / "python")
        shutil.copytree(ROOT / "examples", directory / "examples")
        (directory / "build" / "release" / "plugin").mkdir(parents=True)
        (directory / "build" / "release" / "vramgate").symlink_to(paths().vramgate)
        (directory / "build" / "release" / "plugin" / "triton").symlink_to(paths().repoagents.parent)
        for path in (directory / "examples" / "triton").rglob("*"):
            if path.suffix in (".yaml", ".pbtxt"):
                path.write_text(self.translate(path.read_text()))
        options = (
            f"--http-address=127.0.0.1 --http-port={self.ports[0].number} --reuse-http-port=1 --allow-metrics=false"
        )
        options += f" --grpc-address=127.0.0.1 --grpc-port={self.ports[1].number} --reuse-grpc-port=1"
        wrapper = directory / "bin" / "tritonserver"
        wrapper.parent.mkdir()
        library = shlex.quote(str(server.parents[1] / "nvidia_pytriton.libs"))
        wrapper.write_text(
            f"#!/bin/sh\nLD_LIBRARY_PATH={library} exec {server}/bin/tritonserver "
            f'--backend-directory {directory}/opt/backends {options} "$@"\n'
        )
        wrapper.chmod(0o755)
        found = [str(wrapper.parent), str(pathlib.Path(os.environ["TRITON_VENV"]) / "bin"), os.environ["PATH"]]
        self.environment = {**os.environ, "PATH": os.pathsep.join(found)}

    def translate(self, text: str) -> str:
        for old, new in [
            ("/run/vramgate", f"{self.directory}/run"),
            ("/opt/tritonserver", f"{self.directory}/opt"),
            ("localhost:8000", f"127.0.0.1:{self.ports[0].number}"),
            ("127.0.0.1:9901", "127.0.0.1:0"),
        ]:
            text = text.replace(old, new)
        return text

    def answers(self) -> bool:
        try:
            return http_json(f"127.0.0.1:{self.ports[0].number}", "GET", "/v2/health/ready", timeout=5)[0] == 200
        except OSError:
            return False

    def run(self, command: str) -> str:
        made = subprocess.run(
            ["bash", "-c", self.translate(command)],
            cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return made.stdout

    def start(self, command: str, name: str) -> Program:
        words = shlex.split(self.translate(command).replace("$PWD", str(self.directory)))
        program = [shutil.which(words[0], path=self.environment["PATH"]) or str(self.directory / words[0]), *words[1:]]
        return Program(program, self.directory / f"{name}.log", self.environment, cwd=self.directory)


def expected(printed: str) -> str:
    """A pattern: what is printed, with `...` for what differs, and counts and ports as they come."""
    pattern = re.escape(printed.strip())
    for fixed, varies in (
        (r"\\\.\\\.\\\.", ".*"),
        (r"\b\d+\\ rows", r"\\d+ rows"),
        (r"127\\\.0\\\.0\\\.1:\d+", r"127.0.0.1:\\d+"),
    ):
        pattern = re.sub(fixed, varies, pattern)
    return pattern


def test_the_example_runs_as_printed(version: str, tmp_path: pathlib.Path) -> None:
    place = Place(tmp_path, version)
    running: list[Program] = []
    audit: tuple[str, str] | None = None
    for command, printed in commands():
        if command.startswith("ninja "):
            continue  # built already
        if " serve " in command:
            running.append(place.start(command, "gate"))
            ready = wait_for(
                "the gate is ready", lambda: running[0].check_running() and re.search("ready .*", running[0].text())
            )
            assert ready
            assert re.fullmatch(expected(place.translate(printed)), ready[0])
        elif command.startswith("tritonserver "):
            running.append(place.start(command, "triton"))
            wait_for("Triton is ready", lambda: running[1].check_running() and place.answers(), 60)
        elif " audit " in command:
            audit = command, printed
        else:
            said = place.run(command)
            assert re.fullmatch(expected(printed), said.strip()), (command, said)
    assert [program.stop(30) for program in reversed(running)] == [0, 0]
    assert audit is not None
    assert re.fullmatch(expected(audit[1]), place.run(audit[0]).strip())


@pytest.mark.parametrize("word", ["cp -r", "serve", "tritonserver", "curl", "audit"])
def test_the_example_says_all_of_it(word: str) -> None:
    assert any(word in command for command, _ in commands())
