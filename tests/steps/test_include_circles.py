"""Within a room nobody needs, round some corners, itself: the files of common/net and common/http include each
other in one direction. foo.c, foo.h and foo_internal.h are one: they count as foo."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("common/net", "common/http")
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)


def stem_of(path):
    return Path(path).stem.removesuffix("_internal")


def includes_in(folder, room):
    """Which stems each stem of the folder includes; room is how includes name the folder."""
    graph = {}
    for path in sorted(folder.glob("*.[ch]")):
        named = (Path(name) for name in INCLUDE.findall(path.read_text()))
        others = {stem_of(name) for name in named if name.parent.as_posix() == room}
        graph.setdefault(stem_of(path), set()).update(others - {stem_of(path)})
    return graph


def circle_in(graph):
    """The stems of a circle, the first one again at the end; None: there is none."""
    done = set()

    def follow(stem, path):
        if stem in path:
            return [*path[path.index(stem):], stem]
        if stem in done:
            return None
        for other in sorted(graph.get(stem, ())):
            circle = follow(other, [*path, stem])
            if circle:
                return circle
        done.add(stem)
        return None

    return next(filter(None, (follow(stem, []) for stem in sorted(graph))), None)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_no_circle(room):
    graph = includes_in(ROOT / room, room)
    assert len(graph) > 10
    circle = circle_in(graph)
    assert circle is None, f"{room}: " + " -> ".join(circle)


def test_a_circle_is_found(tmp_path):
    (tmp_path / "one.c").write_text('#include "common/x/one.h"\n#include "common/x/two_internal.h"\n')
    (tmp_path / "two.h").write_text("")
    (tmp_path / "two.c").write_text('#include <errno.h>\n#include "common/x/three.h"\n#include "common/base/one.h"\n')
    assert circle_in(includes_in(tmp_path, "common/x")) is None
    (tmp_path / "three.h").write_text('#include "common/x/one.h"\n')
    assert circle_in(includes_in(tmp_path, "common/x")) == ["one", "two", "three", "one"]
