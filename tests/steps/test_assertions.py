"""How many invariants the rooms state in which a mistake costs most: by CHECK (common/base/check.h) while the program
runs, or by a static assertion when it is built."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PER_1000_LINES = 20
ROOMS = ("common/net", "common/scoreboard", "server/master", "server/threadpool")
COMMENT_OR_TEXT = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
ASSERTION = re.compile(r"\b(?:CHECK|_Static_assert)\s*\(")


def count(text):
    """(lines that are not blank, assertions)"""
    lines = sum(1 for line in text.splitlines() if line.strip())
    return lines, len(ASSERTION.findall(COMMENT_OR_TEXT.sub(" ", text)))


def test_what_counts():
    assert count("a;\n\n  \nCHECK(b);\n") == (2, 1)
    assert count('_Static_assert(A == 1, "CHECK(x)"); /* CHECK(y) */\n') == (1, 1)
    assert count("// CHECK(x)\nRECHECK(y);\nCHECK_LITERAL(z);\n") == (3, 0)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_states_its_invariants(room):
    files = sorted(path for path in (ROOT / room).iterdir() if path.suffix in (".c", ".h"))
    counts = [count(path.read_text()) for path in files]
    lines, assertions = (sum(column) for column in zip(*counts))
    assert assertions * 1000 >= PER_1000_LINES * lines, \
        f"{room} has {assertions} assertions in {lines} lines, {1000 * assertions / lines:.1f} per 1,000"
