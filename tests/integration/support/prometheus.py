"""Debian's Prometheus, with a configuration and a store of its own, on loopback."""

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request

import pytest

from support.server import quiet_port
from support.waiting import DEADLINE_S, wait_until

SCRAPE_INTERVAL_S = 0.5
_PROGRAMS = ("prometheus", "promtool")


def skip_if_missing():
    for program in _PROGRAMS:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: .ci/install-packages metrics")


def promtool(*arguments, **how):
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=DEADLINE_S,
                          check=False, **how)


def _configuration(targets, rules):
    interval = f"{round(SCRAPE_INTERVAL_S * 1000)}ms"
    return {"global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval},
            "rule_files": [str(path) for path in rules],
            "scrape_configs": [{"job_name": job, "static_configs": [{"targets": [address]}]}
                               for job, address in targets.items()]}


class Prometheus:
    """Scrapes targets (job: HOST:PORT), and evaluates the files of rules."""

    def __init__(self, folder, targets, rules=()):
        # JSON is YAML.
        (folder / "prometheus.yml").write_text(json.dumps(_configuration(targets, rules)))
        self.url = f"http://127.0.0.1:{quiet_port()}"
        self._log = folder / "log"
        command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
                   f"--web.listen-address={self.url.removeprefix('http://')}", "--log.level=warn"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
        try:
            wait_until(self._is_ready, "Prometheus is ready", interval_s=0.1)
        except BaseException:
            self.close()
            raise

    def _is_ready(self):
        assert self.process.poll() is None, self._log.read_text()
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=DEADLINE_S) as answer:
                return answer.status == 200
        except OSError:
            return False

    def _ask(self, path, **parameters):
        """The data of the answer; a query that is wrong fails the test with the reason."""
        try:
            url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
            with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {json.load(error)['error']}") from error

    def query(self, expression, **time):
        """[(labels, value)], of an instant."""
        result = self._ask("query", query=expression, **time)["result"]
        return [(sample["metric"], float(sample["value"][1])) for sample in result]

    def value(self, expression, **time):
        """The one value of an expression, or None."""
        found = self.query(expression, **time)
        assert len(found) <= 1, found
        return found[0][1] if found else None

    def metric_names(self):
        return set(self._ask("label/__name__/values"))

    def alerts(self):
        return self._ask("alerts")["alerts"]

    def close(self):
        self.process.terminate()
        self.process.wait(DEADLINE_S)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
