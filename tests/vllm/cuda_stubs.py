"""Makes the CUDA libraries that PyPI's build of torch wants to load, as stubs that fail: torch runs on the CPU.

    cuda_stubs.py <site-packages>/torch/lib      # needs gcc and readelf

The loader wants each library that another NEEDs, each symbol version that is bound to it, and each symbol that is bound
at load. So every undefined symbol of torch's own libraries that has CUDA's look becomes a function that returns an
error (100: cudaErrorNoDevice), under its version where it has one.
"""

from __future__ import annotations

import collections
import pathlib
import re
import subprocess
import sys
import tempfile

CUDA_LIBRARY = re.compile(r"lib(cu|nv|nccl)")

# Which library a symbol without a version comes from, by how its name begins; the longest match wins.
HOMES = {
    "cu": "libcuda.",
    "__cuda": "libcudart",
    "cuda": "libcudart",
    "cupti": "libcupti",
    "cublas": "libcublas.",
    "cublasLt": "libcublasLt",
    "cudnn": "libcudnn",
    "cufft": "libcufft",
    "cuFile": "libcufile",
    "curand": "libcurand",
    "cusolver": "libcusolver",
    "cusparse": "libcusparse.",
    "cusparseLt": "libcusparseLt",
    "nccl": "libnccl",
    "pnccl": "libnccl",
    "nvrtc": "libnvrtc",
    "nvshmem": "libnvshmem",
    "nvJitLink": "libnvJitLink",
}

# Called when torch is imported, so their answers matter.
ANSWERS = {
    "cudaGetDeviceCount": "int cudaGetDeviceCount(int* n) { if (n) *n = 0; return 100; }",
    "cudaGetErrorString": 'const char* cudaGetErrorString(int e) { return "no CUDA: a stub"; }',
    "cudaGetErrorName": 'const char* cudaGetErrorName(int e) { return "stub"; }',
    "cudaGetLastError": "int cudaGetLastError(void) { return 0; }",
    "cudaPeekAtLastError": "int cudaPeekAtLastError(void) { return 0; }",
    "cudaRuntimeGetVersion": "int cudaRuntimeGetVersion(int* v) { if (v) *v = 13000; return 0; }",
    "cudaDriverGetVersion": "int cudaDriverGetVersion(int* v) { if (v) *v = 0; return 0; }",
    "__cudaRegisterFatBinary": "static void* handle[64]; void** __cudaRegisterFatBinary(void* x) { return handle; }",
}


def output_of(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def symbols(library: pathlib.Path) -> tuple[set[str], set[str]]:
    """The dynamic symbols it defines, without versions, and those it leaves undefined, as name or name@version."""
    defined, undefined = set(), set()
    for line in output_of("readelf", "--dyn-syms", "-W", str(library)).splitlines():
        words = line.split()
        if len(words) < 8 or not words[0].rstrip(":").isdigit():
            continue
        if words[6] == "UND":
            undefined.add(words[7])
        else:
            defined.add(words[7].split("@")[0])
    return defined, undefined


def home_of(name: str, version: str, stubs: list[str]) -> str | None:
    """The stub library that has to offer the symbol, or None where it is none of CUDA's."""
    if version:
        for stub in stubs:
            is_nccl = version.startswith("NCCL") and stub.startswith("libnccl")
            is_nvshmem = version == "NVSHMEM" and stub.startswith("libnvshmem")
            if version.startswith(stub) or is_nccl or is_nvshmem:
                return stub
        return None
    beginnings = [beginning for beginning in HOMES if name.startswith(beginning)]
    if not beginnings:
        return None
    library = HOMES[max(beginnings, key=len)]
    return next((stub for stub in stubs if stub.startswith(library)), None)


def make_stub(path: pathlib.Path, names_of_version: dict[str, set[str]]) -> None:
    source, script = [], []
    for version, names in sorted(names_of_version.items()):
        for name in sorted(names):
            result = 0 if name.startswith("__cuda") else 100
            source.append(ANSWERS.get(name, f"int {name}(void) {{ return {result}; }}"))
        if version:
            script.append(f"{version} {{ global: {'; '.join(sorted(names))}; }};")
    with tempfile.TemporaryDirectory() as directory:
        code, versions = pathlib.Path(directory, "stub.c"), pathlib.Path(directory, "versions")
        code.write_text("\n".join(source) + "\n")
        versions.write_text("\n".join(script) + "\n")
        command = [
            "gcc",
            "-shared",
            "-fPIC",
            "-w",
            "-fno-builtin",
            f"-Wl,-soname,{path.name}",
            "-o",
            str(path),
            str(code),
        ]
        if script:
            command.append(f"-Wl,--version-script={versions}")
        subprocess.run(command, check=True)


def main(directory: pathlib.Path) -> None:
    own = [path for path in directory.iterdir() if ".so" in path.name and not CUDA_LIBRARY.match(path.name)]
    present = {path.name for path in own}
    needed: set[str] = set()
    defined: set[str] = set()
    undefined: set[str] = set()
    for path in own:
        needed.update(re.findall(r"\(NEEDED\).*\[(.*?)\]", output_of("readelf", "-dW", str(path))))
        has, lacks = symbols(path)
        defined |= has
        undefined |= lacks
    stubs = sorted(name for name in needed - present if CUDA_LIBRARY.match(name))
    contents: dict[str, dict[str, set[str]]] = collections.defaultdict(lambda: collections.defaultdict(set))
    for symbol in undefined:
        name, _, version = symbol.partition("@")
        home = home_of(name, version.lstrip("@"), stubs) if name and name not in defined else None
        if home is not None:
            contents[home][version.lstrip("@")].add(name)
    for stub in stubs:
        make_stub(directory / stub, contents[stub])
    print(
        f"cuda_stubs.py: {len(stubs)} libraries, {sum(len(n) for c in contents.values() for n in c.values())} symbols"
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: cuda_stubs.py <site-packages>/torch/lib")
    main(pathlib.Path(sys.argv[1]))
