"""What the benchmarks share: this checkout's kdzoo, their arguments, and their figures as JSON."""

import argparse
import json
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

# Before Keras: so TensorFlow uses oneDNN on every processor.
import kdzoo  # noqa: F401


def parser(description, smoke, **numbers):
    """Returns a parser that knows `--json`, `--smoke` and options that are whole numbers.

    Args:
        description: The benchmark's docstring.
        smoke: What its smoke mode does, a few words.
        **numbers: Name of an option -> its value if it is not given.
    """
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, number in numbers.items():
        made.add_argument(f"--{name}", type=int, default=number)
    made.add_argument("--json", type=pathlib.Path, help="write the figures here")
    made.add_argument("--smoke", action="store_true", help=smoke)
    return made


def write(path, figures):
    """Writes figures as JSON, whole or not at all, if there is a path to write them to."""
    if path:
        part = path.with_name(f"{path.name}.part")
        part.write_text(json.dumps(figures, indent=1) + "\n")
        part.replace(path)
