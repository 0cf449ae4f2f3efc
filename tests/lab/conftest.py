"""Lets the tests import the laboratory's package."""

import sys
from pathlib import Path

sys.dont_write_bytecode = sys.pycache_prefix is None  # none beside the sources
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "loadtest"))
