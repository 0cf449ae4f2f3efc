"""A run's folder. Every finished piece of work is a line of blocks.jsonl at once: an interrupted run loses none.

A run that is kept for others may have it as blocks.jsonl.gz (gzip blocks.jsonl): it is judged and compared as before.
"""

import gzip
import json
import os
import shutil
from io import FileIO
from pathlib import Path
from typing import Any, Iterable

from twinlab.base import results
from twinlab.base.errors import LabError

LINES, RUN, CATALOG, EXPERIMENTS = "blocks.jsonl", "run.json", "claims.yaml", "experiments"


class Store:
    """The folder, with all lines that it has so far."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.records: list[dict[str, Any]] = []

    @staticmethod
    def create(directory: Path, run: dict[str, Any], catalog: Path) -> "Store":
        """A new run. Claims and experiments are copied: what was stated before the run is what it is judged by."""
        results.prepare(directory)
        if (directory / LINES).exists():
            raise LabError(f"{directory} holds a run already; continue it with --resume {directory}, or choose "
                           "another folder")
        try:
            shutil.copyfile(catalog, directory / CATALOG)
            if (catalog.parent / EXPERIMENTS).is_dir():
                shutil.copytree(catalog.parent / EXPERIMENTS, directory / EXPERIMENTS, dirs_exist_ok=True)
        except OSError as error:
            raise LabError(f"cannot copy {catalog} and its experiments to {directory}: {error}") from error
        results.write(directory, RUN, run)
        return Store(directory)

    @staticmethod
    def open(directory: Path) -> "Store":
        """A run that was begun before."""
        store = Store(directory)
        if not (directory / RUN).exists():
            raise LabError(f"{directory} holds no run of lab claims: it has no {RUN}")
        lines, packed = directory / LINES, directory / f"{LINES}.gz"
        if lines.exists():
            store.records = list(_parse(lines))
        elif packed.exists():
            store.records = _unpack(packed)
        return store

    @property
    def run(self) -> dict[str, Any]:
        return results.read(self.directory, RUN)

    def update_run(self, **values: Any) -> None:
        """Add to what is known of the run as a whole."""
        results.write(self.directory, RUN, self.run | values)

    def append(self, record: dict[str, Any]) -> None:
        """On disk before the next piece of work begins."""
        path = self.directory / LINES
        if (self.directory / f"{LINES}.gz").exists():
            raise LabError(f"{self.directory} holds a run that is packed; to go on with it: gunzip {path}.gz")
        self.records.append(record)
        try:
            with path.open("ab", buffering=0) as lines:
                _write_whole(lines, json.dumps(record).encode() + b"\n")
        except OSError as error:
            raise LabError(f"cannot write {path}: {error.strerror}") from error

    def matching(self, **key: Any) -> list[dict[str, Any]]:
        """The lines with these values."""
        return [record for record in self.records if all(record.get(name) == value for name, value in key.items())]

    def done(self, **key: Any) -> bool:
        """Is there a line with these values that counts?"""
        return any(not record.get("void") for record in self.matching(**key))


def _write_whole(lines: FileIO, line: bytes) -> None:
    """A line that does not fit on the disk leaves no half of it: the next one would be added to that."""
    end = lines.seek(0, os.SEEK_END)
    try:
        while line:
            line = line[lines.write(line):]
        os.fsync(lines.fileno())
    except OSError:
        os.ftruncate(lines.fileno(), end)
        raise


def _unpack(path: Path) -> list[dict[str, Any]]:
    """Nobody writes to it any more, so no line is cut."""
    try:
        with gzip.open(path, "rt") as lines:
            return [json.loads(line) for line in lines]
    except (OSError, EOFError, ValueError) as error:
        raise LabError(f"cannot read {path}: {error}") from error


def _parse(path: Path) -> Iterable[dict[str, Any]]:
    """The last line may be cut: the run was killed while writing it, and its work is done again."""
    lines = path.read_text().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            if number < len(lines):
                raise LabError(f"{path}: line {number} is not JSON: {error}") from error
    if lines and not lines[-1].endswith("\n"):
        path.write_text("".join(line for line in lines[:-1]))
