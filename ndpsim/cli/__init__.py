"""The command line: arguments, progress, exit codes."""

from ndpsim.cli.app import main

__all__ = ["main"]
