"""Procedures of one or several stages, each built on `fit`."""

from kdzoo.schemes.training import train

__all__ = ["train"]
