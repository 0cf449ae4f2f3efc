"""A filter of system calls as old profiles of container engines and some settings of systemd set it:
openat2(2) is answered with an error. The kernel applies it, so sanitizers are none the wiser."""

import ctypes
import struct

_OPENAT2 = 437  # on every architecture
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _SECCOMP_MODE_FILTER = 22, 38, 2
_LOAD_NUMBER, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_RET_ERRNO, _RET_ALLOW = 0x00050000, 0x7fff0000


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def refuse_openat2(error):
    """For preexec_fn: the process, and all that it starts, gets this error number."""
    instructions = [(_LOAD_NUMBER, 0, 0, 0), (_JUMP_IF_EQUAL, 0, 1, _OPENAT2),
                    (_RETURN, 0, 0, _RET_ERRNO | error), (_RETURN, 0, 0, _RET_ALLOW)]
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    program = _Program(len(instructions), code)
    libc = ctypes.CDLL(None, use_errno=True)

    def apply():
        if (libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
                or libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0) != 0):
            raise OSError(ctypes.get_errno(), "cannot filter system calls")
    return apply
