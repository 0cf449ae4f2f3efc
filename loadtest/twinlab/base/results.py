"""The results as files: every raw round as JSON, beside the facts of the machine."""

import json
import os
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Iterator, TextIO

from twinlab.base.errors import LabError


def default_dir(project: Path) -> Path:
    """A new folder for each run, named by the time in UTC."""
    return project / "loadtest" / "results" / datetime.now(timezone.utc).strftime("%Y-%m-%dT%H%M%SZ")


def prepare(directory: Path) -> Path:
    """Make the folder before the work starts: minutes of measuring must not end in a write error."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LabError(f"cannot make the results folder {directory}: {error.strerror}; choose another "
                       "with --output") from error
    if not os.access(directory, os.W_OK):
        raise LabError(f"the results folder {directory} is not writable; choose another with --output")
    return directory


def write(directory: Path, name: str, content: dict[str, Any]) -> Path:
    return write_text(directory, name, json.dumps(content, indent=1) + "\n")


def read(directory: Path, name: str) -> dict[str, Any]:
    """What write() wrote."""
    path = directory / name
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise LabError(f"cannot read {path}: {error}") from error


def write_text(directory: Path, name: str, content: str) -> Path:
    path = directory / name
    with opened(path) as stream:
        stream.write(content)
    return path


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """A file to write, which is there only once it is whole: on a disk that is full, an earlier one stays."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", newline="") as stream:
            yield stream
        part.replace(path)
    except OSError as error:
        raise LabError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
