"""``python -m ptpool``."""

from ptpool.cli import main

main()
