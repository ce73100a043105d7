"""Has requests made by io_uring (`ring.c`), to a server at the port that is its argument.

Prints what that program tells, as one JSON list. It waits for a line on standard input; what is missing
here is printed in place of "ready".
"""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))

with tempfile.TemporaryDirectory() as folder:
    program = os.path.join(folder, "ring")
    made = subprocess.run(["cc", "-O1", "-pthread", "-o", program, os.path.join(HERE, "ring.c")], capture_output=True, text=True)
    if made.returncode != 0:
        sys.exit(print("missing: a compiler, or the kernel's headers of io_uring:", made.stderr.splitlines()[-1:]))
    try:
        with open("/proc/sys/kernel/io_uring_disabled") as disabled:
            if disabled.read() != "0\n":
                sys.exit(print("missing: io_uring is disabled here"))
    except FileNotFoundError:
        pass
    print("ready", flush=True)
    sys.stdin.readline()
    told = subprocess.run([program, sys.argv[1]], stdout=subprocess.PIPE, text=True, check=True)
    print(json.dumps([json.loads(line) for line in told.stdout.splitlines()]))
