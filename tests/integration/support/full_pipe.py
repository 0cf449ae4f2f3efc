"""A pipe whose reader has stopped, for a server to write to."""

import fcntl
import os
import threading

F_SETPIPE_SZ = 1031
SMALL_BYTES = 4096


class StoppedReader:
    """The kernel's buffer holds a page, which is full from the start if so wanted."""

    def __init__(self, full=True):
        self.read_fd, self.write_fd = os.pipe()
        self.content = b""
        fcntl.fcntl(self.write_fd, F_SETPIPE_SZ, SMALL_BYTES)
        if full:
            self.filling = os.write(self.write_fd, b"-" * (SMALL_BYTES - 1) + b"\n")
        self._thread = None

    def redirect(self, *fds):
        """Start options for a server that has this pipe as these of its descriptors, and nothing else of it."""
        redirections = " ".join(f"{fd}>&{self.write_fd}" for fd in fds)
        script = f'exec "$0" "$@" {redirections} {self.write_fd}>&-'
        return {"prefix": ["bash", "-c", script], "pass_fds": (self.write_fd,)}

    def read_on(self, pause=lambda: None):
        """From now on everything is read; content has it. The writers are the server's alone."""
        os.close(self.write_fd)

        def read():
            while data := os.read(self.read_fd, SMALL_BYTES):
                self.content += data
                pause()
        self._thread = threading.Thread(target=read)
        self._thread.start()

    def text(self):
        return self.content.decode("latin-1")

    def rest(self):
        """All of it, once every writer has ended."""
        self._thread.join(120)
        assert not self._thread.is_alive(), "somebody still holds the pipe"
        os.close(self.read_fd)
        return self.text()
