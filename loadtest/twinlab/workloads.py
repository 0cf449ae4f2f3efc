"""What wrk asks for, and the document root that those requests need."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workload:
    """One path under load."""

    key: str
    label: str
    path: str


ALL = (
    Workload("plaintext", "/plaintext", "/plaintext"),
    Workload("file-1k", "file of 1 KiB", "/1k.bin"),
    Workload("file-100k", "file of 100 KiB", "/100k.bin"),
    Workload("cpu", "/cpu?us=500 (burns CPU)", "/cpu?us=500"),
    Workload("sleep", "/sleep?ms=5 (blocks its slot)", "/sleep?ms=5"),
)

DOCUMENTS = {"1k.bin": 1024, "100k.bin": 100 * 1024}


def make_documents(root: Path) -> None:
    """Write the files that the workloads fetch; the content does not matter, so it is fixed."""
    root.mkdir(parents=True, exist_ok=True)
    for name, size_bytes in DOCUMENTS.items():
        (root / name).write_bytes(b"twinhttpd" * (size_bytes // 9) + b"." * (size_bytes % 9))
    (root / "index.html").write_text("<!doctype html><title>lab</title>\n")
    # The server may run workers as another user later: the documents must be readable to anyone.
    root.chmod(0o755)
