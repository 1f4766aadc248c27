"""What `import kdzoo` costs beside `import keras`, and how soon the command line answers.

    python benchmarks/import_cost.py [--rounds 7]

The processor time of whole processes, which take turns, so that a machine that drifts drifts for
all alike. The figure is the median of the ratios within a round. The targets are 1.05 times Keras,
and one second for the command.
"""

import argparse
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]  # This checkout's kdzoo.
COMMANDS = {
    "import keras": "import keras",
    "import kdzoo": "import kdzoo",
    "kdzoo list": "import sys; sys.argv = ['kdzoo', 'list']; import kdzoo_command as c; c.main()",
}


def seconds(code):
    """Returns the processor time, user and system, of one Python process that runs the code."""
    before = os.times()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command, options = [sys.executable, "-c", code], {"env": environment, "cwd": ROOT}
    subprocess.run(command, check=True, capture_output=True, **options)
    after = os.times()
    used = after.children_user - before.children_user
    return used + after.children_system - before.children_system


def measure(rounds):
    """Returns a list of seconds for each command, measured in turn."""
    for code in COMMANDS.values():
        seconds(code)  # Fills the disk's cache.
    taken = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, code in COMMANDS.items():
            taken[name].append(seconds(code))
    return taken


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    taken = measure(parser.parse_args().rounds)
    for name, values in taken.items():
        print(f"{name:14} {statistics.median(values):6.2f} s of processor time")
    pairs = zip(taken["import kdzoo"], taken["import keras"], strict=True)
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    print(f"import kdzoo / import keras: {ratio:.3f} (target: at most 1.05)")


if __name__ == "__main__":
    main()
