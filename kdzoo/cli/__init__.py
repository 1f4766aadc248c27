"""The command line: `kdzoo list | train | evaluate | export | benchmark | data | demo`."""

from kdzoo.cli.app import app, main

__all__ = ["app", "main"]
