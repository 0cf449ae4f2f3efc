"""A browser: Chromium without a screen, by Debian's chromium-driver and python3-selenium (.ci/install-packages browser)."""

import base64
import os
import shutil

import pytest

from support.waiting import wait_until

WIDE, NARROW = (1280, 900), (390, 844)
LOAD_S = 120


def need():
    """The module webdriver; skips the test where there is no browser."""
    for program in ("chromium", "chromedriver"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: .ci/install-packages browser")
    return pytest.importorskip("selenium.webdriver", reason="python3-selenium is not installed: .ci/install-packages browser")


class Browser:
    def __init__(self, downloads, scripts=True):
        webdriver = need()
        self.downloads = downloads
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        # dev/shm is small in containers; root has no sandbox of Chromium's.
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run",
                         "--disable-background-networking", "--disable-component-update", "--enable-precise-memory-info",
                         "--hide-scrollbars", f"--window-size={WIDE[0]},{WIDE[1]}", "--proxy-server=direct://"):
            options.add_argument(argument)
        preferences = {"download.default_directory": str(downloads), "download.prompt_for_download": False}
        if not scripts:
            preferences["profile.managed_default_content_settings.javascript"] = 2
        options.add_experimental_option("prefs", preferences)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        from selenium.webdriver.chrome.service import Service
        service = Service(shutil.which("chromedriver"), env={**os.environ, "HOME": str(downloads), "NO_PROXY": "*"})
        self.driver = webdriver.Chrome(service=service, options=options)
        self.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
        self.driver.set_page_load_timeout(LOAD_S)
        self.driver.set_script_timeout(LOAD_S)

    def quit(self):
        self.driver.quit()

    def open(self, url, size=WIDE, dark=False, still=False):
        """A page as if in a new tab: without what the last one has stored."""
        self.driver.get("about:blank")
        self.emulate(size, dark, still)
        self.driver.get(url)
        self.complaints()

    def emulate(self, size=WIDE, dark=False, still=False):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
            {"name": "prefers-reduced-motion", "value": "reduce" if still else "no-preference"}]})

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def text(self, selector):
        """Of all that match, a line each; also of what is out of sight."""
        return self.run("return [...document.querySelectorAll(arguments[0])].map(each => each.textContent).join('\\n')", selector)

    def wait_for(self, selector, part="", **how):
        """Until an element matches whose text has the part. Elements come and go while one looks: the page itself is asked."""
        script = ("return [...document.querySelectorAll(arguments[0])]"
                  ".find(each => each.textContent.includes(arguments[1])) ?? null")
        return wait_until(lambda: self.run(script, selector, part), f"{part!r} in {selector}", interval_s=0.05, **how)

    def click(self, selector, part=""):
        """Where it is: what moves in between is clicked nevertheless."""
        self.run("arguments[0].click()", self.wait_for(selector, part))

    def complaints(self):
        """What the console has said since the last time: violations of the policy, exceptions, requests that failed."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")
                if entry["level"] in ("SEVERE", "WARNING")]

    def screenshot(self, path, whole=True):
        """Of the whole page, however long."""
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": whole, "format": "png"})
        path.write_bytes(base64.b64decode(taken["data"]))
