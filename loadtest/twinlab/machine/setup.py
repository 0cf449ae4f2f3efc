"""What must be there before anything can be measured: packages, binaries, file descriptors."""

import resource
import subprocess
import sys
import time
from pathlib import Path

from twinlab.base.errors import LabError
from twinlab.machine import processes

PROJECT = Path(__file__).resolve().parents[3]
# Connections are not the only descriptors that a server or the load tool needs.
SPARE_DESCRIPTORS = 100


def install_packages(*groups: str) -> None:
    """Let the project's one script say what is missing of these groups and install it.

    Not through proc.spawn: sudo may have to ask for a password on the terminal, and a new session has none.
    """
    script = PROJECT / ".ci" / "install-packages"
    if subprocess.run([str(script), *groups], stdout=sys.stderr, check=False).returncode != 0:
        raise LabError("the packages above are needed; see the lines before this one")


def build() -> Path:
    """Bring the release build up to date, and return the folder of its binaries."""
    began_s = time.monotonic()
    build_dir = PROJECT / "build" / "release"
    if not (build_dir / "build.ninja").exists():
        print("lab: building the servers (preset release): a minute or two, the first time", file=sys.stderr)
        _cmake(["--preset", "release"])
    _cmake(["--build", "--preset", "release"])
    took_s = time.monotonic() - began_s
    if took_s > 2:
        print(f"lab: built the servers (preset release) in {took_s:.0f} s", file=sys.stderr)
    return build_dir / "bin"


def _cmake(arguments: list[str]) -> None:
    status, output = processes.run(["cmake", *arguments], cwd=PROJECT)
    if status != 0:
        raise LabError(f"the build failed: cmake {' '.join(arguments)}\n{output.strip()}")


def raise_descriptor_limit(connections: int, beside: int = 0, option: str = "") -> None:
    """Allow the servers and the load tool as many descriptors as may be had, and say so if that is too few.

    beside: connections that a server has as well, and that no option chooses. option: the one that chooses the others.
    """
    spare = SPARE_DESCRIPTORS + beside
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    needed = connections + spare
    if hard != resource.RLIM_INFINITY and needed > hard:
        fewer = f", or use {option} {hard - spare} or fewer" if option and hard > spare else ""
        raise LabError(f"{connections} connections need {needed} file descriptors, and the hard limit is {hard}: raise "
                       f"it (as root: ulimit -n {needed}){fewer}")
