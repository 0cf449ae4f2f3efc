"""A server's account of itself: the one place that knows where it is told, and in which words.

Its observer tells it, out of the memory that the server's processes share. So to ask is no request of the server's, it
opens no connection to who serves, and it is answered while every worker hangs. Everybody else takes the dictionary that
read() gives:

    model, dispatch, totals, deaths     as the observer has them
    master_pid
    generation                          of the newest process
    processes_wanted                    how many there are to be that serve
    processes                           these: number, pid, generation, state
    workers                             their threads: pid, process (its number) and generation; current, the request
                                        line that it works on, or None; all else as the observer has it
"""

from typing import Any, Mapping

from twinlab.base.errors import LabError, understood
from twinlab.servers.observer import Observer


class Silent(LabError):
    """Nobody tells the account any more: the server is gone, or its observer does not come back."""


def read(at: Observer, label: str = "the server") -> dict[str, Any]:
    """What the server tells at this moment. RequestLost, NoAnswer: the observer has gone, or does not answer."""
    try:
        state = at.state()
    except LabError as error:
        raise LabError(f"{label}: {error}") from error
    with understood(f"{label}: what its observer tells"):
        return _in_our_words(state)


def _in_our_words(state: Mapping[str, Any]) -> dict[str, Any]:
    processes = state["processes"]
    return {
        "model": state["server"]["model"], "dispatch": state["server"]["dispatch"],
        "totals": state["totals"], "deaths": state["deaths"],
        "master_pid": state["master"]["pid"], "processes_wanted": state["master"]["processes_wanted"],
        "generation": max((process["generation"] for process in processes), default=0),
        "processes": [{name: process[name] for name in ("number", "pid", "generation", "state")}
                      for process in processes],
        "workers": [_worker(process, slot) for process in processes for slot in process["slots"]],
    }


def _worker(process: Mapping[str, Any], slot: Mapping[str, Any]) -> dict[str, Any]:
    return {**slot, "pid": process["pid"], "process": process["number"], "generation": process["generation"],
            "current": slot["current"]["line"] if slot["current"] else None}
