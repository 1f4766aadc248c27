"""What `import kdzoo` costs beside `import keras`, and how soon the command line answers.

    python benchmarks/import_cost.py [--rounds 7]

Processor time of whole processes, in turn, so that a machine's drift hits all alike; the median
of the ratios of neighbours is what counts. Targets: 1.05 times Keras; one second for the command.
"""

import argparse
import os
import statistics
import subprocess
import sys

COMMANDS = {
    "import keras": "import keras",
    "import kdzoo": "import kdzoo",
    "kdzoo list": "import sys, kdzoo_command; sys.argv[1:] = ['list']; kdzoo_command.main()",
}


def seconds(code):
    """Returns the processor time, user and system, of one Python process that runs the code."""
    before = os.times()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment)
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
