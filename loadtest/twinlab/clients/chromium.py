"""A browser without a screen: Debian's Chromium, driven by selenium (.ci/install-packages browser)."""

import os
import shutil
from pathlib import Path
from typing import Any, Self

from twinlab.base.errors import LabError
from twinlab.base.waiting import wait_for
from twinlab.machine import processes, procfs

SCRIPT_TIMEOUT_S = 60
WINDOW = "--window-size=1280,900"


class Chromium:
    """Use it as a context manager; home: a folder for what it writes."""

    def __init__(self, home: Path) -> None:
        from selenium import webdriver  # only here: nothing else of the laboratory needs it
        from selenium.webdriver.chrome.service import Service

        program, driver = shutil.which("chromium"), shutil.which("chromedriver")
        if not program or not driver:
            raise LabError("Chromium is not there; run: .ci/install-packages browser")
        options = webdriver.ChromeOptions()
        options.binary_location = program
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run",
                         "--disable-background-networking", "--disable-component-update", "--proxy-server=direct://", WINDOW):
            options.add_argument(argument)
        service = Service(driver, env={**os.environ, "HOME": str(home), "NO_PROXY": "*"})
        self._driver = webdriver.Chrome(service=service, options=options)
        self._driver.set_script_timeout(SCRIPT_TIMEOUT_S)
        self._root = service.process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._driver.quit()

    def open(self, url: str) -> None:
        """A page as if in a new tab: without what the last one has stored."""
        self._driver.get("about:blank")
        self._driver.get(url)

    def run(self, script: str, *arguments: Any) -> Any:
        return self._driver.execute_script(script, *arguments)

    def run_until_done(self, script: str, *arguments: Any) -> Any:
        """A script whose last argument is the function that it calls when it has an answer."""
        return self._driver.execute_async_script(script, *arguments)

    def wait_for(self, selector: str, part: str = "") -> None:
        """Until an element matches whose text has the part."""
        script = "return [...document.querySelectorAll(arguments[0])].some(each => each.textContent.includes(arguments[1]))"
        wait_for(lambda: self.run(script, selector, part), f"{part!r} in {selector}", SCRIPT_TIMEOUT_S)

    def cpu_us(self) -> float:
        """Of all its processes so far, without the driver's own."""
        return processes.cpu_us(_below(self._root))


def _below(pid: int) -> list[int]:
    return [each for child in procfs.children(pid) for each in (child, *_below(child))]
