#!/usr/bin/python3
"""Runs a program for which, and for whatever it starts, the kernel makes no network namespace: `no_namespaces.py PROGRAM
[ARGUMENT...]`. As when the machine has as many as it may have, and for this program alone: clone(2) with CLONE_NEWNET
fails with "no space left on device", by a system call filter."""

import ctypes
import errno
import os
import struct
import sys

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
PR_SET_NO_NEW_PRIVS = 38
LOAD, EQUAL, ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06
ERRNO, ALLOW = 0x50000, 0x7FFF0000
CLONE_NEWNET = 0x40000000
CLONE = {"x86_64": 56, "aarch64": 220}
# Where the filter finds the number of the call and the lower half of its first argument.
NUMBER, FLAGS = 0, 16

program = [
    (LOAD, 0, 0, NUMBER),
    (EQUAL, 0, 3, CLONE[os.uname().machine]),
    (LOAD, 0, 0, FLAGS),
    (ANY_BIT, 0, 1, CLONE_NEWNET),
    (RETURN, 0, 0, ERRNO | errno.ENOSPC),
    (RETURN, 0, 0, ALLOW),
]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
for call in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, filter, 0, 0)):
    if libc.prctl(*call) != 0:
        sys.exit(f"no_namespaces: {os.strerror(ctypes.get_errno())}")
os.execvp(sys.argv[1], sys.argv[1:])
