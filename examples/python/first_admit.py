#!/usr/bin/env python3
"""A first request: asks vramgate for one generation's memory, holds it for a second, gives it back.

  python3 -m venv build/venv && build/venv/bin/pip install -r examples/python/requirements.txt
  build/venv/bin/python examples/python/first_admit.py [TARGET]   # default: where `./dev run --keep` listens

The stubs are made from proto/ in a temporary directory: nothing is generated into the tree.
"""
import atexit
import pathlib
import queue
import shutil
import sys
import tempfile
import time

import grpc
from grpc_tools import protoc
import grpc_tools

ROOT = pathlib.Path(__file__).resolve().parents[2]


def stubs():
    """The modules that protoc makes of proto/vramgate/v1/admission.proto."""
    out = tempfile.mkdtemp(prefix="vramgate-stubs-")
    atexit.register(shutil.rmtree, out)
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    if protoc.main(["protoc", f"-I{ROOT / 'proto'}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}",
                    "vramgate/v1/admission.proto"]) != 0:
        sys.exit("protoc could not read proto/vramgate/v1/admission.proto")
    sys.path.insert(0, out)
    from vramgate.v1 import admission_pb2, admission_pb2_grpc
    return admission_pb2, admission_pb2_grpc


def main():
    target = sys.argv[1] if len(sys.argv) > 1 else f"unix:{ROOT}/build/run/gate.sock"
    pb, rpc = stubs()
    outgoing = queue.Queue()  # None: half-close
    outgoing.put(pb.SessionRequest(admit=pb.AdmitRequest(
        model="llama-3.1-8b", demand=pb.Demand(prompt_tokens=1000, max_output_tokens=500))))
    with grpc.insecure_channel(target) as channel:
        stream = rpc.AdmissionServiceStub(channel).Session(iter(outgoing.get, None))
        try:
            # Answers `queued` for as long as it waits, then `granted`; or the stream ends with an error that says why.
            for response in stream:
                if response.HasField("queued"):
                    print(f"queued at position {response.queued.position}")
                elif response.HasField("granted"):
                    lease = response.granted
                    print(f"{lease.name} on instance {lease.instance}")
                    for charge in lease.charges:
                        print(f"  device {charge.device}: {charge.vram_bytes} bytes")
                    time.sleep(1)  # here the engine generates; the lease lives as long as the stream
                    outgoing.put(None)  # done: the bytes are free at once
            print("released")
            return 0
        except grpc.RpcError as error:
            outgoing.put(None)
            print(f"refused: {error.details()} ({error.code().name})", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
