"""The command line: `kdzoo --help` lists the commands."""

from kdzoo.cli.app import app, main

__all__ = ["app", "main"]
