"""Entry point of `python3 -m twinlab`, which is what loadtest/lab runs."""

import os
import signal
import sys
from typing import NoReturn

# A Ctrl-C before there is anything to clean up: the signal's own end, without words.
signal.signal(signal.SIGINT, signal.SIG_DFL)


def open_standard_streams() -> None:
    """Whoever was started without one of them (>&-) writes to nowhere, and not into a file that gets its number."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))


def leave(status: int) -> NoReturn:
    """Without the interpreter's own attempt to send what nobody wants to read any more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            status = status or cli.READER_GONE
        except OSError as error:
            is_told, status = status != 0, status or 1  # the command has met it already, and said so
            if stream is sys.stdout and not is_told:
                print(f"lab: cannot write the output: {error.strerror}", file=sys.stderr)
    os._exit(status)


open_standard_streams()
from twinlab.commands import cli  # noqa: E402: takes a moment, in which a Ctrl-C may come

try:
    ended_with = cli.main(sys.argv[1:])
except SystemExit as end:  # the parser's, after --help or a mistake
    ended_with = end.code if isinstance(end.code, int) else 1
leave(ended_with)
