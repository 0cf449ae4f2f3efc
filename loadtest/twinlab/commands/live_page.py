"""`lab live`: the page that an observer serves, put together from the same sources."""

import re
from dataclasses import dataclass
from pathlib import Path

from twinlab.base.errors import LabError
from twinlab.machine import processes, setup

ASSEMBLE = setup.PROJECT / "server" / "observe" / "page" / "assemble.cmake"
TABLE = "<!--table-->"  # an observer tells its state there, to browsers without JavaScript
SORRY = "<p>Several servers on one page need JavaScript. Each server's own page does not.</p>"
RECORDING = '<script type="application/json" id="recording"></script>'
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">')


@dataclass(frozen=True)
class Page:
    """One text that needs no other."""

    text: str

    @property
    def policy(self) -> str:
        """What a browser may do on its behalf; a header can forbid frames, too."""
        match = POLICY.search(self.text)
        if not match:
            raise LabError("the page says nothing about its content security policy")
        return f"{match[1]}; frame-ancestors 'none'"

    def with_recording(self, recording: str) -> str:
        """The same page, which plays this again. No text in it may end the element that it stands in."""
        before, place, after = self.text.partition(RECORDING)
        if not place:
            raise LabError("the page has no place for a recording")
        whole = place.replace("></", ">" + recording.replace("<", "\\u003c") + "</")
        return before + whole + after


def load(scratch: Path) -> Page:
    """The page as of the sources. scratch: a folder that is made for it."""
    scratch.mkdir()
    status, output = processes.run(["cmake", "-D", f"INTO={scratch}", "-P", str(ASSEMBLE)])
    if status != 0:
        raise LabError(f"the page cannot be put together: {output.strip()}")
    return Page((scratch / "page.html").read_text(encoding="utf-8").replace(TABLE, SORRY))
