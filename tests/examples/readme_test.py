#!/usr/bin/env python3
"""Types what README.md tells its reader to type, as printed, and compares the answers with the printed ones.

  readme_test.py BUILD TEST...    BUILD: the build directory; TEST: here, python or grpcurl

In a fenced block a line that begins with `$ ` is a command, which goes on while a quote is open or a line ends in a
backslash; the lines after it are what it prints. Each block is run in a directory of its own with what the root of the
tree has, the build directory in place of build/release, and a sidecar that the README's own `vramgate serve` starts.
A block that fetches something is run by `python` (PyPI) or `grpcurl` (Go modules), all others by `here`.
"""
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PATIENCE_S = 240  # for what is fetched; all else takes milliseconds
COMMANDS = {"serve", "check", "estimate", "status", "admit", "audit"}
# What differs from one run to the next.
VARIES = [(r"leases/[0-9a-f]{16}", "leases/ID"), (r'"queued_ms":\d+', '"queued_ms":MS'),
          (r'"queued_for": "[\d.]+s"', '"queued_for": "WAIT"'), (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
          (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"), (r"\b\d+ rows\b", "N rows")]


def fenced(language):
    """The lines of each fenced block in that language."""
    blocks, block = [], None
    for line in README.splitlines():
        if not line.startswith("```"):
            if block is not None:
                block[1].append(line)
        elif block is None:
            block = (line[3:], [])
        else:
            blocks.append(block)
            block = None
    return [lines for said, lines in blocks if said == language]


def commands_of(lines):
    """[command, lines that it prints] for each command of a block."""
    commands = []
    open_ = False
    for line in lines:
        if open_:
            commands[-1][0] += "\n" + line
        elif line.startswith("$ "):
            commands.append([line[2:], []])
        elif commands:
            commands[-1][1].append(line)
        if commands and not commands[-1][1]:
            open_ = commands[-1][0].endswith("\\") or commands[-1][0].count("'") % 2 == 1
    return commands


BLOCKS = [commands for commands in map(commands_of, fenced("")) if commands]
SERVE = [block for block in BLOCKS if "vramgate serve" in block[-1][0]]


def test_of(block):
    text = "\n".join(command for command, _ in block)
    return "python" if "pip install" in text else "grpcurl" if "go install" in text else "here"


def comparable(lines):
    text = "\n".join(line.rstrip() for line in lines)
    for pattern, name in VARIES:
        text = re.sub(pattern, name, text)
    return text


class Reader:
    """One who has the tree, has built it, and types into a shell in its root."""

    def __init__(self, build):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="vramgate-readme-"))
        for name in ("examples", "proto"):  # copies: a client must find its sidecar here, not in the tree
            shutil.copytree(ROOT / name, self.root / name, ignore=shutil.ignore_patterns("__pycache__"))
        (self.root / "build").mkdir()
        (self.root / "build" / "release").symlink_to(build)
        own = self.root / "bin"
        own.mkdir()
        # A test builds nothing: ninja is asked whether it knows what it is to build.
        (own / "ninja").write_text(f'#!/bin/sh -e\n[ "$1" = -C ]\ncd "$2"\nshift 2\n'
                                   f'exec {shutil.which("ninja")} -t query "$@"\n')
        (own / "ninja").chmod(0o755)
        self.environment = dict(os.environ, PATH=f"{own}:{os.environ['PATH']}", GOBIN=str(own))
        self.sidecar = None

    def types(self, command):
        """Its exit status and all that it says."""
        ran = subprocess.run(["bash", "-c", command], cwd=self.root, env=self.environment, timeout=PATIENCE_S,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return ran.returncode, ran.stdout

    def serves(self, command):
        """Starts the sidecar; returns its first line, which says that it is ready."""
        with open(self.root / "log", "w") as log:
            self.sidecar = subprocess.Popen(["bash", "-c", command], cwd=self.root, env=self.environment, stderr=log,
                                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                            start_new_session=True)
        select.select([self.sidecar.stdout], [], [], 60)
        line = self.sidecar.stdout.readline() if self.sidecar.poll() is None else ""
        return line or "not ready:\n" + (self.root / "log").read_text()

    def stops(self):
        """Ends the sidecar as Ctrl-C does; its exit status."""
        if self.sidecar is None:
            return 0
        if self.sidecar.poll() is None:
            os.killpg(self.sidecar.pid, signal.SIGINT)
        status = self.sidecar.wait(timeout=60)
        self.sidecar.stdout.close()
        self.sidecar = None
        return status

    def leaves(self):
        self.stops()
        shutil.rmtree(self.root)


class ReadmeTest(unittest.TestCase):
    build = None
    maxDiff = None

    def reader(self):
        reader = Reader(self.build)
        self.addCleanup(reader.leaves)
        return reader

    def follow(self, reader, block):
        for command, printed in block:
            if "vramgate serve" in command:
                status, said = 0, reader.serves(command)
            else:
                if "vramgate audit" in command:
                    self.assertEqual(reader.stops(), 0, "the sidecar does not end well")
                status, said = reader.types(command)
            self.assertEqual(status, 0, f"$ {command}\n{said}")
            if printed:
                self.assertIn("\n" + comparable(printed) + "\n", "\n" + comparable(said.splitlines()) + "\n",
                              f"not what README.md prints after\n$ {command}")

    def follow_all(self, test):
        blocks = [block for block in BLOCKS if test_of(block) == test]
        self.assertTrue(blocks, f"README.md has no block for the test `{test}`")
        for block in blocks:
            with self.subTest(block[0][0]):
                reader = self.reader()
                if block not in SERVE:
                    self.follow(reader, SERVE[0])
                self.follow(reader, block)
                self.assertEqual(reader.stops(), 0, "the sidecar does not end well")

    def test_here(self):
        self.follow_all("here")

    def test_here_every_command_is_shown(self):
        self.assertEqual(len(SERVE), 1, "the one block that ends in `vramgate serve`")
        shown = {word for block in BLOCKS for command, _ in block for word in re.findall(r"vramgate (\w+)", command)}
        self.assertEqual(shown, COMMANDS)

    def test_here_prose_names_what_there_is(self):
        reader = self.reader()
        usages = {command: reader.types(f"build/release/vramgate {command} --help")[1] for command in COMMANDS}
        for span in re.findall(r"`([^`\n]+)`", README):
            command = re.match(r"(?:build/release/)?vramgate (\w+)", span)
            with self.subTest(span):
                if command:
                    self.assertIn(command[1], COMMANDS)
                if command or span.startswith("--"):
                    usage = usages[command[1]] if command else "\n".join(usages.values())
                    for flag in re.findall(r"--[\w-]+", span):
                        self.assertRegex(usage, flag + r"\b")
        usage = subprocess.run([ROOT / "dev", "help"], capture_output=True, text=True, check=True).stdout
        for command, option in re.findall(r"(?:^|`)\./dev (\w+)(?: (peers|--\w+))?", README, re.MULTILINE):
            with self.subTest(command, option=option):
                if command != "help":
                    self.assertRegex(usage, rf"(?m)^  {command} .*{option}\b")

    def test_here_config_in_one_screen(self):
        reader = self.reader()
        (config,) = fenced("yaml")
        file = reader.root / "examples" / "gate.yaml"  # beside models/, which it names
        file.write_text("\n".join(config))
        status, said = reader.types("build/release/vramgate check --config examples/gate.yaml")
        self.assertEqual(status, 0, said)
        (error,) = re.findall(r"`(gate\.yaml:[^`]*?) ?\.\.\.`", README.replace("\n", " "))
        right, wrong = "max_wait:", "max_wayt:"
        file.write_text("\n".join(config).replace(right, wrong))
        status, said = reader.types("build/release/vramgate check --config examples/gate.yaml")
        self.assertEqual(status, 2)
        self.assertIn(error, said)

    def test_python(self):
        self.follow_all("python")

    def test_grpcurl(self):
        self.follow_all("grpcurl")


if __name__ == "__main__":
    ReadmeTest.build = pathlib.Path(sys.argv[1]).resolve()
    names = [name for name in unittest.TestLoader().getTestCaseNames(ReadmeTest)
             if any(name == f"test_{test}" or name.startswith(f"test_{test}_") for test in sys.argv[2:])]
    if not names:
        sys.exit(__doc__)
    unittest.main(argv=[sys.argv[0], *(f"ReadmeTest.{name}" for name in names)], verbosity=2)
