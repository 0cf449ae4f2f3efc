"""`lab live`: what the page's buttons do to all servers at once."""

from dataclasses import dataclass

from twinlab.commands.live_sides import Side

CROWD = 1000
LEAK_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class Preset:
    """A button. fault: a request that is sent to each server; connections: what wrk has from then on; killing: whether
    a process of each is killed every second from then on."""

    id: str
    label: str
    told: str
    fault: str = ""
    connections: int | None = None
    killing: bool | None = None


def make(connections: int) -> dict[str, Preset]:
    """All of them. connections: those of the calm."""
    crowd = max(CROWD, connections)
    presets = (
        Preset("kill", "kill one a second", "one process of each server is killed each second", killing=True),
        Preset("stop", "stop killing", "nobody is killed any more", killing=False),
        Preset("segv", "segv", "a request crashes one process of each server", fault="/fault/segv"),
        Preset("hang", "hang one", "a request that never ends takes one thread of each server",
               fault="/fault/deadlock"),
        Preset("leak", "leak", f"one process of each server has leaked {LEAK_BYTES // 1024 // 1024} MiB",
               fault=f"/fault/leak?bytes={LEAK_BYTES}"),
        Preset("crowd", f"{connections:,} -> {crowd:,} connections", f"wrk has {crowd:,} connections to each server",
               connections=crowd),
        Preset("calm", f"back to {connections:,}", f"wrk has {connections:,} connections to each server",
               connections=connections),
    )
    return {preset.id: preset for preset in presets}


def apply(preset: Preset, sides: list[Side]) -> None:
    """What is done at once; who kills keeps that in mind himself."""
    for side in sides:
        if preset.fault:
            side.send_fault(preset.fault)
        if preset.connections is not None and side.server.is_running():
            side.put_load(preset.connections)
