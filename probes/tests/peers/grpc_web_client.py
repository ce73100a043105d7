"""Calls servers of gRPC-Web at these ports, by the libraries of Connect for Node.js: becomes that program."""
import os
import pathlib
import shutil
import sys

if shutil.which("node") is None:
    print("missing node", flush=True)
    sys.exit(0)
os.execvp("node", ["node", str(pathlib.Path(__file__).with_name("grpc_web.mjs")), "call", *sys.argv[1:]])
