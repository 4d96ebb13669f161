"""Run the command line as ``python -m autopeft``."""

from autopeft.cli.app import main

main()
