"""What wrk asks for, and the document root that those requests need."""

from dataclasses import dataclass
from pathlib import Path

from twinlab.clients.wrk import KEPT, Style


@dataclass(frozen=True)
class Workload:
    """One path under load."""

    key: str
    label: str
    path: str
    style: Style = KEPT


@dataclass(frozen=True)
class PeerWorkload(Workload):
    """A workload of `lab peers`: every server answers it with the same number of bytes."""

    connections: int = 64
    body_bytes: int = 0
    access_log: bool = False
    only: tuple[str, ...] = ()  # contenders that take part; none named: all but the special ones


ALL = (
    Workload("plaintext", "/plaintext", "/plaintext"),
    Workload("file-1k", "file of 1 KiB", "/1k.bin"),
    Workload("file-100k", "file of 100 KiB", "/100k.bin"),
    Workload("cpu", "/cpu?us=500 (burns CPU)", "/cpu?us=500"),
    Workload("sleep", "/sleep?ms=5 (blocks its slot)", "/sleep?ms=5"),
)

PEERS = (
    PeerWorkload("plaintext", "13 bytes, 64 connections", "/plaintext", body_bytes=13),
    PeerWorkload("file-1k", "file of 1 KiB, 64 connections", "/1k.bin", body_bytes=1024),
    PeerWorkload("file-1k-1000", "file of 1 KiB, 1,000 connections", "/1k.bin", connections=1000, body_bytes=1024),
    PeerWorkload("file-1m", "file of 1 MiB, 16 connections", "/1m.bin", connections=16, body_bytes=1024 * 1024),
    PeerWorkload("close", "file of 1 KiB, a connection for each request, 64 at a time", "/1k.bin", Style(close=True),
                 body_bytes=1024),
    PeerWorkload("pipeline", "13 bytes, 64 connections, 16 requests at once on each", "/plaintext", Style(depth=16),
                 body_bytes=13),
    PeerWorkload("file-100k", "file of 100 KiB, 64 connections", "/100k.bin", body_bytes=100 * 1024),
    PeerWorkload("log", "file of 1 KiB, 64 connections, access log on", "/1k.bin", body_bytes=1024, access_log=True),
    PeerWorkload("sleep", "/sleep?ms=5, 128 connections", "/sleep?ms=5", connections=128, body_bytes=11,
                 only=("sleepers",)),
)

DOCUMENTS = {"1k.bin": 1024, "100k.bin": 100 * 1024, "1m.bin": 1024 * 1024}


def make_documents(root: Path) -> Path:
    """Write the files that the workloads fetch, and return the folder; the content does not matter, so it is fixed."""
    root.mkdir(parents=True, exist_ok=True)
    for name, size_bytes in DOCUMENTS.items():
        (root / name).write_bytes(b"twinhttpd" * (size_bytes // 9) + b"." * (size_bytes % 9))
    # What /plaintext answers, for servers that have no handler for it.
    (root / "plaintext").write_bytes(b"Hello, World!")
    (root / "index.html").write_text("<!doctype html><title>lab</title>\n")
    # The server may run workers as another user later: the documents must be readable to anyone.
    root.chmod(0o755)
    return root
