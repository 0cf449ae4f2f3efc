"""A server from a package of Debian's: configured from a template in loadtest/peers, started as a child, ended."""

import os
import shutil
import socket
import string
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from twinlab.base.errors import LabError
from twinlab.servers.server import Program

TEMPLATES = Path(__file__).resolve().parents[2] / "peers"
APACHE_MPMS = ("event", "worker", "prefork")
# Slots beyond wrk's connections: wrk opens one to probe, and the laboratory's own request may still be closing.
SPARE_SLOTS = 8


@dataclass(frozen=True)
class Site:
    """What a server is to serve, with how much, and where its own files may lie."""

    root: Path
    folder: Path
    port: int
    workers: int
    connections: int
    access_log: bool


@dataclass(frozen=True)
class Package:
    """One server: its package, template and command line, and how many processes it has once it is up."""

    package: str
    template: str
    command: Callable[[str], list[str]]
    processes: Callable[[Site], int]
    values: tuple[tuple[str, str], ...] = ()

    def is_installed(self) -> bool:
        """A release of Debian may lack one of them."""
        return Path(self.command("/")[0]).exists()


def _slots(site: Site) -> int:
    return site.connections + SPARE_SLOTS


def render(package: Package, site: Site) -> str:
    """The configuration for one run."""
    values: dict[str, Any] = {
        "root": site.root, "folder": site.folder, "port": site.port, "workers": site.workers,
        "if_log": _if(site.access_log), "if_no_log": _if(not site.access_log), "if_root": _if(os.geteuid() == 0),
        "slots": _slots(site), "slots_of_all_workers": _slots(site) * site.workers,
    }
    text = (TEMPLATES / package.template).read_text()
    return string.Template(text).substitute(values | dict(package.values))


def _if(condition: bool) -> str:
    """What a template writes before a line that only sometimes applies."""
    return "" if condition else "# "


def free_port() -> int:
    """A port that nobody listens on: these servers cannot tell which one the kernel chose for them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _nginx(config: str) -> list[str]:
    folder = os.path.dirname(config)
    return ["/usr/sbin/nginx", "-p", folder, "-e", f"{folder}/error.log", "-c", config]


def _lighttpd(config: str) -> list[str]:
    return ["/usr/sbin/lighttpd", "-D", "-f", config]


def _h2o(config: str) -> list[str]:
    return ["/usr/bin/h2o", "-m", "worker", "-c", config]


def _apache(config: str) -> list[str]:
    return ["/usr/sbin/apache2", "-D", "FOREGROUND", "-f", config]


def _apache_package(mpm: str) -> Package:
    processes = _prefork_processes if mpm == "prefork" else _master_and_workers
    return Package("apache2-bin", "apache.conf", _apache, processes, (("mpm", mpm),))


def _master_and_workers(site: Site) -> int:
    return 1 + site.workers


def _prefork_processes(site: Site) -> int:
    return 1 + _slots(site)


def _one_process(_site: Site) -> int:
    return 1


PACKAGES = {
    "nginx": Package("nginx", "nginx.conf", _nginx, _master_and_workers),
    "lighttpd": Package("lighttpd", "lighttpd.conf", _lighttpd, _master_and_workers),
    "h2o": Package("h2o", "h2o.conf", _h2o, _one_process),
    **{f"apache-{mpm}": _apache_package(mpm) for mpm in APACHE_MPMS},
}


class PackagedServer(Program):
    """A running one. It is ready when it accepts connections and all its processes are there."""

    def __init__(self, label: str, package: Package, site: Site) -> None:
        self._site = site
        self._processes = package.processes(site)
        config = site.folder / package.template
        try:
            config.write_text(render(package, site))
            if os.geteuid() == 0:
                # The templates give up root; lighttpd opens its logs only after that.
                shutil.chown(site.folder, "www-data", "www-data")
        except OSError as error:
            raise LabError(f"cannot write {config}: {error.strerror}") from error
        super().__init__(label, package.command(str(config)), site.folder)

    def _ready_port(self) -> int | None:
        if not _accepts(self._site.port):
            return None
        return self._site.port if len(self.pids()) >= self._processes else None

    def log_tail(self, lines: int = 20) -> str:
        """The end of its stderr and of its error log."""
        error_log = self._site.folder / "error.log"
        logged = error_log.read_text(errors="replace").splitlines() if error_log.exists() else []
        return "\n".join([super().log_tail(lines), *logged[-lines:]]).strip()


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1.0).close()
        return True
    except OSError:
        return False
