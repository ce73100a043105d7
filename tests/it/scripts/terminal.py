"""Runs a program on a pseudo terminal, types what it is told, and prints what the terminal showed.

    terminal.py COLUMNS STEPS PROGRAM [ARGUMENT]…

STEPS is a JSON list: ["wait", TEXT] waits until TEXT was shown since the last wait, ["send", TEXT]
types it. The exit code is the program's, or 99 where a text was waited for in vain.
"""

import fcntl
import json
import os
import pty
import select
import struct
import sys
import termios
import time

columns, steps, program = int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:]
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.execvp(program[0], program)

shown = b""
since = 0


def read(seconds):
    """Reads what the terminal shows; False once it is closed."""
    global shown
    if not select.select([terminal], [], [], seconds)[0]:
        return True
    try:
        piece = os.read(terminal, 65536)
    except OSError:
        return False
    shown += piece
    return piece != b""


for what, text in steps:
    if what == "send":
        os.write(terminal, text.encode())
        continue
    end = time.monotonic() + 60
    while (at := shown.find(text.encode(), since)) < 0:
        if time.monotonic() > end or not read(0.2):
            sys.stdout.buffer.write(shown + f"\nnot shown: {text}\n".encode())
            os.kill(pid, 9)
            sys.exit(99)
    since = at + len(text.encode())
while read(30):
    pass
sys.stdout.buffer.write(shown)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
