"""Entry point of `python3 -m twinlab`, which is what loadtest/lab runs."""

import sys

from twinlab.cli import main

sys.exit(main(sys.argv[1:]))
