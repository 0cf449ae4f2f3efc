"""The results as a JSON file: every raw round, beside the facts of the machine."""

import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from twinlab.errors import LabError


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
    path = directory / name
    try:
        path.write_text(json.dumps(content, indent=1) + "\n")
    except OSError as error:
        raise LabError(f"cannot write {path}: {error.strerror}") from error
    return path
