"""`lab demo`: runs a demonstration, and prints what it shows and what it found."""

import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

from twinlab import demos
from twinlab.base.observed import Fact
from twinlab.machine import setup

LINE_CHARS = 120


@dataclass(frozen=True)
class Options:
    """What the command line chooses."""

    name: str | None
    quick: bool
    bin_dir: Path | None


def run(options: Options) -> int:
    if options.name is None:
        print("\n".join(list_lines()))
        return 0
    setup.install_packages("build", "load")
    bin_dir = options.bin_dir or setup.build()
    demo, began_s = demos.DEMOS[options.name], time.monotonic()
    print(f"{options.name}: {title(demo)}")
    outcome = demos.run(options.name, bin_dir, options.quick, lambda line: print(line, flush=True))
    print(f"\nObserved, in {time.monotonic() - began_s:.1f} s")
    for fact in outcome.facts:
        print(textwrap.fill(fact_line(fact), LINE_CHARS, subsequent_indent=" " * 15))
    print("\n" + textwrap.fill(demo.MEANING, LINE_CHARS))
    return 0


def list_lines() -> list[str]:
    width = max(map(len, demos.DEMOS))
    return [f"{name:{width}}  {title(demo)}" for name, demo in demos.DEMOS.items()]


def title(demo: demos.Demo) -> str:
    """What it is about, and the statements that it bears on."""
    return f"{demo.TITLE} (claim{'s' if len(demo.CLAIMS) > 1 else ''} {', '.join(map(str, demo.CLAIMS))})"


def fact_line(fact: Fact) -> str:
    """`   12 of 12  code-is-read-only: writing to the address ...`"""
    count = f"{fact.observed} of {fact.of}" if fact.is_available else "unavailable"
    detail = f" ({fact.detail})" if fact.detail else ""
    return f"  {count:>11}  {fact.key}: {fact.statement}{detail}"
