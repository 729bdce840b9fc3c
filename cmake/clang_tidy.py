#!/usr/bin/env python3
"""Runs clang-tidy over the sources of a build's compile commands, in parallel, and skips what has not changed since
it last passed.

  cmake/clang_tidy.py BUILD [--jobs N] [FILE ...]   exit 1 where there is a finding, else 0

With the compile commands of the `lint` preset the compiler's own warnings come along as clang-diagnostic-*, and
with them the thread-safety analysis: one parse of a file does it all. A file has passed for a key made of the tool's
version, .clang-tidy, the protos, the compile command and the text of everything in this tree that it includes.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shlex
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIDY = "clang-tidy-19"


def own_sources(build):
    """{source path relative to the root: compile command}, without what is generated."""
    commands = json.loads((build / "compile_commands.json").read_text())
    sources = {}
    for entry in commands:
        file = pathlib.Path(entry["directory"], entry["file"]).resolve()
        if ROOT in file.parents and build.resolve() not in file.parents:
            sources[str(file.relative_to(ROOT))] = entry
    return sources


def includes(entry):
    """The files of this tree that a source includes, itself among them, as the compiler sees them."""
    command = shlex.split(entry["command"])
    if os.path.basename(command[0]) == "ccache":
        command = command[1:]
    # Without -c and -o: only the list of what is included, system headers left out.
    kept = [command[0], "-MM"]
    skip = False
    for word in command[1:]:
        if skip:
            skip = False
        elif word in ("-o", "-MF", "-MT", "-MQ"):
            skip = True
        elif word not in ("-c", "-MD", "-MMD"):
            kept.append(word)
    out = subprocess.run(kept, cwd=entry["directory"], capture_output=True, text=True)
    if out.returncode != 0:
        return None  # does not compile: clang-tidy will say why
    files = out.stdout.replace("\\\n", " ").split(":", 1)[1].split()
    paths = {pathlib.Path(entry["directory"], f).resolve() for f in files}
    return sorted(p for p in paths if ROOT in p.parents)


def digest(parts):
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()


def common_key():
    version = subprocess.run([TIDY, "--version"], check=True, capture_output=True).stdout
    protos = sorted((ROOT / "proto").rglob("*.proto"))
    return digest([version, (ROOT / ".clang-tidy").read_bytes(), pathlib.Path(__file__).read_bytes()]
                  + [p.read_bytes() for p in protos])


def check(source, entry, build, passed, common):
    """(passed, output). Leaves a stamp for what passed."""
    files = includes(entry)
    key = None
    if files is not None:
        key = digest([common.encode(), entry["command"].encode()] + [f.read_bytes() for f in files])
        if (passed / key).exists():
            return True, ""
    run = subprocess.run([TIDY, "-p", str(build), "--quiet", str(ROOT / source)], capture_output=True, text=True)
    if run.returncode != 0:
        return False, run.stdout + ("" if run.stdout.strip() else run.stderr)
    if key is not None:
        (passed / key).touch()
    return True, run.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("files", nargs="*", help="only these; default: all")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    args = parser.parse_intermixed_args()

    sources = own_sources(args.build)
    if not sources:
        print(f"{args.build}/compile_commands.json names no source of this tree", file=sys.stderr)
        return 1
    wanted = sorted(sources)
    if args.files:
        wanted = [str(pathlib.Path(f).resolve().relative_to(ROOT)) for f in args.files]
        unknown = [f for f in wanted if f not in sources]
        if unknown:
            print(f"no compile command for: {' '.join(unknown)}", file=sys.stderr)
            return 1
    passed = args.build / "tidy"
    passed.mkdir(exist_ok=True)
    common = common_key()
    failed = []
    started = said = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        jobs = {pool.submit(check, s, sources[s], args.build, passed, common): s for s in wanted}
        for done, job in enumerate(concurrent.futures.as_completed(jobs), 1):
            ok, output = job.result()
            if not ok:
                failed.append(jobs[job])
                print(output, end="", flush=True)
            if time.monotonic() - said > 20:
                said = time.monotonic()
                print(f"   {done} of {len(jobs)} files, {said - started:.0f}s", file=sys.stderr, flush=True)
    print(f"   {len(wanted)} files, {len(failed)} with findings" + "".join(f"\n   {f}" for f in sorted(failed)),
          file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
