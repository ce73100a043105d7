"""Has processes begin and end in every way, and prints a JSON row for each: what to call it, its pid, the
exit code, the signal that ended it, whether the kernel did so for want of memory, and the program that it
ran at last (none where it ran no other than this one).

"ready" comes first; the rest waits for a line on standard input.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

rows = []
# The system call that ends one thread.
EXIT = 60 if os.uname().machine == "x86_64" else 93
SHELL, PYTHON = "/bin/sh", sys.executable


def note(name, pid, status, program, out_of_memory=False):
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None
    by = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else None
    rows.append({"name": name, "pid": pid, "code": code, "signal": by, "program": program,
                 "out_of_memory": out_of_memory})


def wait(name, child, program, **more):
    _, status = os.waitpid(child.pid, 0)
    note(name, child.pid, status, program, **more)


def run(name, program, *arguments):
    wait(name, subprocess.Popen([program, *arguments]), program)


def signalled(name, by):
    child = subprocess.Popen([SHELL, "-c", "echo; read never"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    child.stdout.readline()
    child.send_signal(by)
    wait(name, child, SHELL)


def forked(name, work):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(9)
    note(name, pid, os.waitpid(pid, 0)[1], None)


def many_threads():
    """All threads end at once, of which none is the first to know that it is the last."""
    for _ in range(16):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    os._exit(5)


def first_thread_ends_first():
    """The first thread of this process ends before the others: its end is none of the process."""
    code = ("import ctypes, os, threading, time\n"
            "def rest():\n    time.sleep(0.1)\n    os._exit(6)\n"
            "threading.Thread(target=rest).start()\n"
            f"ctypes.CDLL(None).syscall({EXIT}, 1)\n")
    run("the first thread first", PYTHON, "-c", code)


def limited():
    """A folder of the memory controller with 32 MiB; none where there can be none."""
    name = f"icecore-test-{os.getpid()}"
    for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        folder = pathlib.Path(root, name)
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / limit).write_text(str(32 << 20))
            return folder
        except OSError:
            folder.rmdir()
    return None


def out_of_memory():
    folder = limited()
    if folder is None:
        print("no memory controller: no process is killed for want of memory", file=sys.stderr)
        return
    code = (f"open({str(folder / 'cgroup.procs')!r}, 'w').write(str(__import__('os').getpid()))\n"
            "held = [b'x' * (1 << 20) for _ in range(512)]\n")
    wait("out of memory", subprocess.Popen([PYTHON, "-c", code]), PYTHON, out_of_memory=True)
    folder.rmdir()


# What whoever runs this ignores, as under nohup, its children would ignore.
for ignored in (signal.SIGHUP, signal.SIGTERM):
    signal.signal(ignored, signal.SIG_DFL)
print("ready", flush=True)
sys.stdin.readline()
run("well", SHELL, "-c", "exit 0")
run("with a code", SHELL, "-c", "exit 3")
run("with the greatest code", SHELL, "-c", "exit 255")
signalled("asked", signal.SIGTERM)
signalled("killed", signal.SIGKILL)
signalled("hung up", signal.SIGHUP)
signalled("at fault", signal.SIGSEGV)
run("by itself", SHELL, "-c", "kill -ABRT $$")
run("through another program", SHELL, "-c", "exec /bin/false")
rows[-1]["program"] = "/bin/false"
forked("without a program", lambda: os._exit(7))
forked("many threads", many_threads)
first_thread_ends_first()
out_of_memory()
print(json.dumps(rows))
