"""experiments/*.yaml: what is started, loaded and broken, for how long. A sweep is an experiment with many sides."""

from dataclasses import dataclass, fields, replace
from itertools import product
from pathlib import Path
from typing import Any, Mapping, Sequence

from twinlab.base.errors import LabError, understood
from twinlab.claims.catalog import read_yaml
from twinlab.servers.models import Model

CONTROL = "control"  # the side, or variant, that repeats another one: an A/A comparison shows the noise
BLOCKS = ("load", "rate", "memory", "crash", "hung")
MODELS = ("prefork", "threadpool", "threadpool-request", "hybrid")
ON_DEATH = ("cut", "adopt")
START_COST_S = 0.5  # of a block beside its warm-up and its window
OF_ALL = ("rounds", "without")  # what `quick` states of the experiment; the rest replaces defaults of the sides
KEYS = {"title", "defaults", "sides", "control", "rounds", "quick", "pin", "chart"}


@dataclass(frozen=True)
class Side:
    """One way to run a server and what is done to it. A block measures it once."""

    name: str = ""
    block: str = "load"
    model: str = "prefork"
    workers: int = 1  # processes; of a hybrid, too
    threads: int = 0  # of each process; of the pool, with request dispatch
    loops: int = 2
    on_death: str = "cut"  # what becomes of the connections of a process that dies
    options: tuple[str, ...] = ()
    path: str = "/plaintext"
    connections: int = 32
    duration_s: float = 2.0
    warmup_s: float = 0.5
    beside_path: str = ""  # a second load, whose figures nobody wants
    beside_connections: int = 0
    rate_per_s: int = 1000  # of a block `rate`, whose requests come whether or not the server keeps up
    fault: str = ""
    crashes: int = 3
    hung: int = 0

    @property
    def start(self) -> Model:
        """The server's command line."""
        options = {
            "prefork": ("--workers", str(self.workers)),
            "threadpool": ("--threads", str(self.threads), "--dispatch", "connection"),
            "threadpool-request": ("--threads", str(self.threads), "--dispatch", "request", "--loops",
                                   str(self.loops)),
            "hybrid": ("--workers", str(self.workers), "--threads", str(self.threads)),
        }[self.model]
        binary = "threadpool-server" if self.model.startswith("threadpool") else "prefork-server"
        return Model(self.name, self.name, binary, (*options, *self.options), self.model)

    @property
    def planned_s(self) -> float:
        """How long a block takes."""
        if self.block == "crash":
            return self.crashes * 1.0 + 1.5
        if self.block == "memory":
            return START_COST_S + self.workers * 0.01
        if self.block == "hung":
            return START_COST_S + 1.5
        return self.duration_s + (1 if self.block == "rate" else 2) * self.warmup_s + START_COST_S


@dataclass(frozen=True)
class Experiment:
    """Some sides, measured in turn, so many times."""

    name: str
    title: str
    sides: dict[str, Side]
    control_of: str | tuple[str, ...]  # see controls()
    rounds: int
    pin: bool
    chart: tuple[str, ...]  # metrics to draw over a sweep

    @property
    def planned_s(self) -> float:
        return self.rounds * sum(side.planned_s for side in self.sides.values())

    def order(self, round_number: int) -> list[Side]:
        """Each control beside its side, since noise that comes and goes grows with the distance.

        Each second round runs backwards, so that two rounds are ABBA and a drift within them cancels.
        """
        repeats = controls(self.control_of)
        sides: list[Side] = []
        for name in self.sides:
            if name not in repeats:
                sides += [self.sides[control] for control, side in repeats.items() if side == name]
                sides.append(self.sides[name])
        return sides if round_number % 2 else sides[::-1]


def controls(control_of: str | Sequence[str]) -> dict[str, str]:
    """Each control with the side it repeats: `control` if one side is stated, `control-of SIDE` for each of a list.

    A figure is held against the control of a side that it compares; if it compares none of them, against the one whose
    side has the longest beginning in common with either of its two; of equals, the first of the list: see
    judge.control_for().
    """
    if isinstance(control_of, str):
        return {CONTROL: control_of} if control_of else {}
    return {f"{CONTROL}-of {side}": side for side in control_of}


def load(folder: Path, name: str, quick: bool) -> Experiment:
    """One experiment by name; quick replaces whatever its section of that name states."""
    where = f"experiments/{name}.yaml"
    with understood(where):
        return _made_of(read_yaml(folder / f"{name}.yaml"), name, quick, where)


def _made_of(content: Any, name: str, quick: bool, where: str) -> Experiment:
    if not isinstance(content, dict) or set(content) - KEYS or not {"title", "sides"} <= set(content):
        raise LabError(f"{where}: keys are {', '.join(sorted(KEYS))}; title and sides are needed")
    reduced = content.get("quick", {}) if quick else {}
    defaults = content.get("defaults", {}) | {key: value for key, value in reduced.items() if key not in OF_ALL}
    sides = {side.name: side for key, entry in content["sides"].items() if key not in reduced.get("without", ())
             for side in _expand(str(key), defaults | (entry or {}), quick, where)}
    control_of = _control_of(content, sides, where)
    sides |= {name: replace(sides[side], name=name) for name, side in controls(control_of).items()}
    return Experiment(name, content["title"], sides, control_of,
                      int(reduced.get("rounds", 5 if quick else content.get("rounds", 10))),
                      bool(content.get("pin", False)), tuple(content.get("chart", ())))


def _control_of(content: Mapping[str, Any], sides: Mapping[str, Side], where: str) -> str | tuple[str, ...]:
    """The side, or sides, to repeat; without those of a list that the quick form leaves out."""
    stated = content.get("control", "")
    wanted = [str(side) for side in stated] if isinstance(stated, list) else [str(stated)] if stated else []
    known = {side.name for key, entry in content["sides"].items()
             for side in _expand(str(key), content.get("defaults", {}) | (entry or {}), False, where)}
    found = [side for side in wanted if side in sides]
    if not set(wanted) <= known or (wanted and not found):
        raise LabError(f"{where}: control names no side: {', '.join(set(wanted) - known) or ', '.join(wanted)}")
    return tuple(found) if isinstance(stated, list) else "".join(found)


def _expand(name: str, entry: Mapping[str, Any], quick: bool, where: str) -> list[Side]:
    """`for: {n: [1, 2]}` makes a side of each value, with {n} replaced wherever it stands."""
    entry = dict(entry)
    ranges, reduced = entry.pop("for", {}), entry.pop("quick_for", None)
    if quick and reduced:
        ranges = reduced
    found = []
    for values in product(*ranges.values()):
        chosen = dict(zip(ranges, values))
        filled = {key: _fill(value, chosen) for key, value in entry.items()}
        found.append(_side(str(_fill(name, chosen)), filled, where))
    return found


def _fill(value: Any, chosen: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_fill(item, chosen) for item in value]
    return value.format(**chosen) if isinstance(value, str) else value


def _side(name: str, entry: Mapping[str, Any], where: str) -> Side:
    kinds = {field.name: field.type for field in fields(Side)}
    unknown = set(entry) - set(kinds) - {"name"}
    if unknown:
        raise LabError(f"{where}, side {name}: unknown {', '.join(sorted(unknown))}")
    try:
        given: dict[str, Any] = {key: _convert(value, type(getattr(Side, key))) for key, value in entry.items()}
        given["name"] = name
        side = Side(**given)
    except ValueError as error:
        raise LabError(f"{where}, side {name}: {error}") from error
    if side.block not in BLOCKS or side.model not in MODELS or side.on_death not in ON_DEATH:
        raise LabError(f"{where}, side {name}: block is one of {', '.join(BLOCKS)}, model of {', '.join(MODELS)}, "
                       f"on_death of {', '.join(ON_DEATH)}")
    return side


def _convert(value: Any, kind: type) -> Any:
    return tuple(map(str, value)) if kind is tuple else kind(value)
