"""The folder for what a run needs while it goes on: documents, the servers' output. It vanishes with the run."""

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from twinlab.base.errors import LabError

# The documents, with room for what the servers say.
LEAST_BYTES = 2 * 1024 * 1024


@contextmanager
def folder() -> Iterator[Path]:
    """A new folder where TMPDIR says, or in /tmp; readable to the workers of servers that give up root."""
    try:
        made = tempfile.TemporaryDirectory(prefix="twinlab-", ignore_cleanup_errors=True)
    except OSError as error:
        raise LabError(f"there is no place for temporary files: {error.strerror}; choose a folder with TMPDIR") from error
    with made as name:
        path = Path(name)
        path.chmod(0o755)
        try:
            # It can be made on a disk that is full.
            (path / "room").write_bytes(bytes(LEAST_BYTES))
            (path / "room").unlink()
        except OSError as error:
            raise LabError(f"cannot write temporary files to {path.parent}: {error.strerror}; choose another folder "
                           "with TMPDIR") from error
        yield path
