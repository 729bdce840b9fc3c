#!/usr/bin/env python3
"""Writes vramgate/_schema.py, the plugin socket's frames as the package carries them, from proto/.

generate.py           # after a change of the proto
generate.py --check   # exit code 1 where the file is not what would be written

So `pip install` needs no protoc. Needs Debian's protobuf-compiler.
"""

import base64
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
PROTO = HERE.parents[1] / "proto"
TARGET = HERE / "vramgate" / "_schema.py"
WIDTH = 100

HEAD = '''"""The plugin socket's frames, a serialized FileDescriptorSet. Written by generate.py: do not edit."""

import base64

FILES = base64.b64decode(
'''


def generated() -> str:
    with tempfile.TemporaryDirectory() as directory:
        out = pathlib.Path(directory, "files")
        files = ["vramgate/v1/plugin.proto", "google/rpc/error_details.proto"]
        subprocess.run(["protoc", f"-I{PROTO}", f"--descriptor_set_out={out}", "--include_imports", *files], check=True)
        text = base64.b64encode(out.read_bytes()).decode()
    lines = [f'    "{text[i : i + WIDTH]}"\n' for i in range(0, len(text), WIDTH)]
    return HEAD + "".join(lines) + ")\n"


def main() -> int:
    text = generated()
    if sys.argv[1:] == ["--check"]:
        if TARGET.read_text() == text:
            return 0
        print(f"{TARGET} is not what proto/ says: run {HERE / 'generate.py'}", file=sys.stderr)
        return 1
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
