"""What a process of a test gives up before it does what is tested: writing to files, or the privileges of root.

Neither can be taken back, so it is done in a process of its own. The kernel refuses what is given up as it would on a read-only
mount or to another user, and needs no permission for it.
"""

import ctypes
import errno
import os
import platform
import struct
import subprocess
import sys
from pathlib import Path

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _FILTER = 38, 22, 2
_OPENAT = {"x86_64": 257, "aarch64": 56}
_CAPABILITY_VERSION_3 = 0x20080522


def _called(code: int) -> None:
    if code:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def read_only() -> None:
    """From now on no file can be opened by this thread to write to it, as on a read-only file system."""
    program = [
        (0x20, 0, 0, 0),  # load the number of the call
        (0x15, 0, 3, _OPENAT[platform.machine()]),
        (0x20, 0, 0, 32),  # load its flags
        (0x45, 0, 1, os.O_WRONLY | os.O_RDWR),
        (0x06, 0, 0, 0x00050000 | errno.EROFS),
        (0x06, 0, 0, 0x7FFF0000),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    filtered = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    _called(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _called(libc.prctl(_PR_SET_SECCOMP, _FILTER, filtered, 0, 0))


def without_privileges() -> None:
    """From now on the modes of files hold for root too."""
    libc = ctypes.CDLL(None, use_errno=True)
    head = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0))
    _called(libc.capset(head, ctypes.create_string_buffer(24)))


def run(program: str, *arguments: str | Path, code: int = 0) -> str:
    """What a program in a process of its own printed, that could import this; it ended with this code."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-c", program, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == code, done.stderr
    return done.stdout
