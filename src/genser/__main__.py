"""``python -m genser``: the command line."""

from genser.cli import main

main()
