"""tests/steps/lint: each tool is seen finding what is planted for it in a small tree, and nothing in that tree before."""

import json
import shutil
import subprocess
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

STEPS = Path(__file__).resolve().parent
PROJECT = STEPS.parents[1]
LINT = STEPS / "lint"
TOOLS = ("check-includes", "clang-format", "clang-tidy", "shellcheck", "pyflakes", "mypy")

GOOD = {
    "common/base/clock.h": "int clock_days(int hours);\n",
    "common/base/clock.c": '#include "common/base/clock.h"\n\nint clock_days(int hours)\n{\n    return hours / 24;\n}\n',
    "loadtest/lab": "#!/usr/bin/env bash\necho \"$1\"\n",
    "loadtest/twinlab/__init__.py": '"""The laboratory."""\n',
    "loadtest/twinlab/base/table.py": "def width(cells: list[str]) -> int:\n    return max(map(len, cells))\n",
    "tests/steps/tool": "#!/usr/bin/python3\nimport sys\n\nsys.exit(0)\n",
    ".mypy.ini": "[mypy]\nmypy_path = loadtest\npackages = twinlab\n",
    ".gitignore": "/build/\n",
}
# For each tool: which file is changed, to what, and what is said of it.
PLANTED = {
    "check-includes": ("common/base/clock.c", GOOD["common/base/clock.c"].replace('"\n', '"\n#include <llhttp.h>\n', 1),
                       "common/base/clock.c:2"),
    "clang-format": ("common/base/clock.h", "int clock_days( int hours );\n", "common/base/clock.h:1"),
    "clang-tidy": ("common/base/clock.c", GOOD["common/base/clock.c"].replace("24", "(hours == 0 ? 0 : hours - hours)"),
                   "core.DivideZero"),
    "shellcheck": ("loadtest/lab", "#!/usr/bin/env bash\nrm -f $(cat list)\n", "SC2046"),
    "pyflakes": ("tests/steps/tool", "#!/usr/bin/python3\nimport os\n", "'os' imported but unused"),
    "mypy": ("loadtest/twinlab/base/table.py", GOOD["loadtest/twinlab/base/table.py"].replace("max(", "str("),
             "loadtest/twinlab/base/table.py:2"),
}


@pytest.fixture
def tree(tmp_path):
    """A small project without a mistake, configured as CMake would do it."""
    for name, text in GOOD.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name in (".clang-format", ".clang-tidy"):
        shutil.copy(PROJECT / name, tmp_path)
    source = "common/base/clock.c"
    commands = [{"directory": str(tmp_path), "file": str(tmp_path / source), "command": f"cc -I. -c {source}"}]
    (tmp_path / "build" / "dev").mkdir(parents=True)
    (tmp_path / "build" / "dev" / "compile_commands.json").write_text(json.dumps(commands))
    subprocess.run(("git", "init", "-q", tmp_path), check=True)
    return tmp_path


def run_lint(*arguments):
    return subprocess.run((LINT, *arguments), text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False)


def outcomes(junit):
    """Whether each tool failed."""
    return {case.get("name"): case.find("failure") is not None for case in xml.parse(junit).iter("testcase")}


def test_good_sources_pass(tree):
    result = run_lint("--root", tree, "--junit", tree / "lint.xml")
    assert (result.returncode, outcomes(tree / "lint.xml")) == (0, dict.fromkeys(TOOLS, False)), result.stdout


@pytest.mark.parametrize("tool", TOOLS)
def test_what_is_planted_is_found(tree, tool):
    path, text, said = PLANTED[tool]
    assert (tree / path).read_text() != text
    (tree / path).write_text(text)
    result = run_lint("--root", tree, "--junit", tree / "lint.xml", tool)
    assert (result.returncode, outcomes(tree / "lint.xml")) == (1, {tool: True}), result.stdout
    assert said in result.stdout


def test_a_tree_that_is_not_configured_is_told(tree):
    (tree / "build" / "dev" / "compile_commands.json").unlink()
    result = run_lint("--root", tree, "clang-tidy")
    assert result.returncode != 0 and "cmake --preset dev" in result.stdout


def test_an_unknown_tool_is_refused():
    result = run_lint("ruff")
    assert result.returncode == 2 and "ruff" in result.stdout


def test_help():
    result = run_lint("--help")
    assert result.returncode == 0 and "usage: tests/steps/lint" in result.stdout
