#!/usr/bin/env python3
"""Checks that includes point downwards only, and that files stay small.

  cmake/check_includes.py [--root DIR]   exit 1 and one line a finding, or 0
  cmake/check_includes.py --self-check   plants each kind of violation and expects it to be found

The layers, as docs/architecture.md draws them: a directory may include what RULES lists for it, and itself.
"""
import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

BASE = ["admission/*.h"]  # check, mutex, clock, types and the like: directly in admission/
CORE = ["admission/estimator", "admission/gate", "admission/replay"]
PROTO = ["vramgate", "envoy", "google"]  # generated headers

# The longest matching directory counts. "admission/*.h" means the headers directly in that directory.
RULES = {
    "gpu": [],
    "admission": BASE,
    "admission/estimator": BASE,
    "admission/gate": BASE,
    "admission/replay": BASE + ["admission/estimator", "admission/gate"],
    "admission/server": BASE + CORE + PROTO + ["gpu"],
    "admission/cli": BASE + CORE + PROTO + ["gpu", "admission/server"],
    "plugin": BASE + PROTO,
    "examples": BASE + PROTO,
    "tests": BASE + CORE + PROTO + ["gpu", "admission/server", "admission/cli", "plugin", "examples"],
}
# What counts as a directory of this tree or as a generated header; everything else is a library's.
OWN = re.compile(r"^(admission|gpu|plugin|examples|tests|vramgate|envoy|google/(?!protobuf/))\b.*")
INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]')
# google/protobuf is a library of its own, but as much gRPC's world as the generated headers are.
WIRE = re.compile(r"^(google/protobuf|grpc|grpcpp)/")

HEADER_LINES = 150
SOURCE_LINES = 300
MOST_LINES = 350


def rule_of(path):
    """The directory whose rule holds for a file, or None."""
    for parent in pathlib.PurePosixPath(path).parents:
        if str(parent) in RULES:
            return str(parent)
    return None


def allowed(directory, include):
    # Below its own directory; of admission/ itself only the files directly in it.
    if directory != "admission" and include.startswith(directory + "/"):
        return True
    for entry in RULES[directory]:
        if entry.endswith("/*.h"):
            if str(pathlib.PurePosixPath(include).parent) == entry[: -len("/*.h")]:
                return True
        elif include.startswith(entry + "/"):
            return True
    return False


def check_text(path, text):
    """Findings of one file, as (line, message, is_error)."""
    directory = rule_of(path)
    if directory is None:
        yield 1, "a C++ file in a directory that cmake/check_includes.py knows no layer for: add it to RULES", True
        return
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        include = match.group(1)
        if include.startswith(("./", "../")) or (
                "/" not in include and line.rstrip().endswith('"') and not include.endswith(".pb.h")):
            yield number, f'include "{include}" from the root of the tree', True
        elif OWN.match(include) and not allowed(directory, include):
            yield number, f'{directory}/ must not include "{include}": includes point downwards only', True
        elif WIRE.match(include) and not any(entry in RULES[directory] for entry in PROTO):
            yield number, f'{directory}/ must not know gRPC or Protobuf ("{include}")', True
    measure = HEADER_LINES if path.endswith(".h") else SOURCE_LINES
    if len(lines) > MOST_LINES:
        yield len(lines), f"{len(lines)} lines; no file has more than {MOST_LINES}: split it by what it is about", True
    elif len(lines) > measure:
        yield len(lines), f"{len(lines)} lines; the measure is {measure}", False


def check_tree(root):
    """Prints the findings; how many of them are errors."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-co", "--exclude-standard", "--", "*.cc", "*.h"],
        check=True, capture_output=True, text=True).stdout.split("\n")
    errors = 0
    for path in sorted(filter(None, listed)):
        file = root / path
        if not file.exists():
            continue
        for line, message, is_error in check_text(path, file.read_text(encoding="utf-8")):
            errors += is_error
            print(f"{path}:{line}: {'error' if is_error else 'warning'}: {message}", file=sys.stderr)
    return errors


# (file, its text, whether it must be refused)
CASES = [
    ("admission/gate/a.cc", '#include "admission/estimator/b.h"\n', True),
    ("admission/estimator/a.cc", '#include "admission/gate/b.h"\n', True),
    ("admission/gate/a.cc", '#include "admission/server/b.h"\n', True),
    ("admission/gate/a.cc", '#include "gpu/device_memory.h"\n', True),
    ("admission/gate/a.cc", '#include "vramgate/v1/admission.pb.h"\n', True),
    ("admission/gate/a.cc", "#include <grpcpp/grpcpp.h>\n", True),
    ("admission/estimator/a.cc", '#include "google/protobuf/message.h"\n', True),
    ("admission/types.h", '#include "admission/gate/gate.h"\n', True),
    ("admission/server/a.h", '#include "admission/cli/command.h"\n', True),
    ("gpu/a.cc", '#include "admission/types.h"\n', True),
    ("gpu/a.cc", '  #  include <admission/types.h>\n', True),
    ("examples/a.cc", '#include "admission/server/server.h"\n', True),
    ("admission/gate/a.cc", '#include "budget.h"\n', True),
    ("admission/gate/a.cc", '#include "../types.h"\n', True),
    ("surprise/a.cc", "", True),
    ("admission/gate/a.cc", "\n" * (MOST_LINES + 1), True),
    ("admission/gate/a.cc", '#include "admission/gate/b.h"\n#include "admission/types.h"\n#include <vector>\n', False),
    ("admission/gate/a.cc", '#include "absl/status/status.h"\n', False),
    ("admission/clock.cc", '#include "admission/clock.h"\n#include <time.h>\n', False),
    ("admission/server/a.cc", '#include "gpu/device_memory.h"\n#include "vramgate/v1/admission.pb.h"\n', False),
    ("admission/replay/a.cc", '#include "admission/gate/gate.h"\n', False),
    ("tests/gpu/a.cc", '#include "gpu/b.h"\n#include "tests/support/c.h"\n#include <gtest/gtest.h>\n', False),
    ("gpu/a.cc", '#include "gpu/a.h"\n#include <cuda_runtime_api.h>\n', False),
]


def self_check():
    failures = 0
    for path, text, refused in CASES:
        found = any(is_error for _, _, is_error in check_text(path, text))
        if found != refused:
            failures += 1
            print(f"self-check: {path} with {text[:60]!r}: {'let through' if refused else 'refused'}", file=sys.stderr)
    # And once through the tree walk, so that an empty listing cannot pass for a clean one.
    with tempfile.TemporaryDirectory() as directory:
        root = pathlib.Path(directory)
        subprocess.run(["git", "init", "-q", directory], check=True)
        (root / "gpu").mkdir()
        (root / "gpu" / "a.cc").write_text('#include "admission/types.h"\n', encoding="utf-8")
        findings = subprocess.run([sys.executable, __file__, "--root", directory], capture_output=True, text=True)
        if findings.returncode != 1 or "gpu/a.cc:1: error" not in findings.stderr:
            failures += 1
            print("self-check: a violation planted in a tree was not found", file=sys.stderr)
    return failures


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--self-check", action="store_true")
    args = parser.parse_args()
    return 1 if (self_check() if args.self_check else check_tree(args.root)) else 0


if __name__ == "__main__":
    sys.exit(main())
