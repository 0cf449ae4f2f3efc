"""What is taken from a server for a while, and given back whatever happens: memory, processes, descriptors, disk."""

import os
import resource
import signal
import subprocess
from pathlib import Path

from support.waiting import DEADLINE_S, wait_until

CGROUPS = Path("/sys/fs/cgroup")
DISK_BYTES = 32 << 20
UNLIMITED = {"memory": ("memory.limit_in_bytes", "-1"), "pids": ("pids.max", "max")}


class Unavailable(Exception):
    """This machine or this user cannot do that; the text says why."""


class Cgroup:
    """A group of its own in one cgroup v1 hierarchy."""

    def __init__(self, controller):
        self._file, self._unlimited = UNLIMITED[controller]
        self.directory = CGROUPS / controller / f"twinhttpd-chaos-{os.getpid()}"
        if not (CGROUPS / controller / "cgroup.procs").exists():
            raise Unavailable(f"there is no cgroup v1 hierarchy {CGROUPS / controller}")
        try:
            self.directory.mkdir()
        except OSError as error:
            raise Unavailable(f"cannot create {self.directory}: {error.strerror}") from error

    @property
    def members_file(self):
        return self.directory / "cgroup.procs"

    def read(self, name):
        return int((self.directory / name).read_text())

    def limit(self, value):
        (self.directory / self._file).write_text(str(value))

    def unlimit(self):
        (self.directory / self._file).write_text(self._unlimited)

    def remove(self):
        def removed():
            try:
                self.directory.rmdir()
            except OSError:
                return False
            return True
        wait_until(removed, f"{self.directory} is removed", timeout_s=DEADLINE_S)


class SmallDisk:
    """A file system of its own that is quickly full."""

    def __init__(self, directory):
        self.directory = directory
        directory.mkdir()
        if os.getuid() != 0:
            raise Unavailable("only root may mount a small file system")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=755",
                               "twinhttpd-chaos", str(directory)], capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            raise Unavailable(f"cannot mount a small file system: {done.stderr.strip()}")

    def fill(self):
        """Writes until nothing more fits."""
        with open(self.directory / "filler", "wb", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    pass

    def free(self):
        (self.directory / "filler").unlink(missing_ok=True)

    def unmount(self):
        """Who was killed a moment ago may still be on its way out."""
        def is_unmounted():
            return subprocess.run(["umount", str(self.directory)], capture_output=True, check=False).returncode == 0
        wait_until(is_unmounted, f"{self.directory} can be unmounted")


class NoDescriptors:
    """A process that cannot open one more file while this lasts."""

    def __init__(self, pid):
        self._pid = pid
        self._limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)

    def __enter__(self):
        used = {int(name) for name in os.listdir(f"/proc/{self._pid}/fd")}
        lowest_free = next(number for number in range(len(used) + 1) if number not in used)
        resource.prlimit(self._pid, resource.RLIMIT_NOFILE, (lowest_free, self._limits[1]))
        return self

    def __exit__(self, *_):
        try:
            resource.prlimit(self._pid, resource.RLIMIT_NOFILE, self._limits)
        except ProcessLookupError:
            pass


class Stopped:
    """A process that stands still while this lasts."""

    def __init__(self, pid):
        self._pid = pid

    def __enter__(self):
        os.kill(self._pid, signal.SIGSTOP)
        return self

    def __exit__(self, *_):
        try:
            os.kill(self._pid, signal.SIGCONT)
        except ProcessLookupError:
            pass


def wait_for(condition, what, timeout_s=DEADLINE_S):
    """As wait_until, looking every millisecond: for what is timed."""
    return wait_until(condition, what, timeout_s, interval_s=0.001)
