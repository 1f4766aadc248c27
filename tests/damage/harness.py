"""Runs cases of damaged files in a process that is started again when one ends or hangs it.

python tests/damage/harness.py --seed 0 --cases 300
python tests/damage/harness.py --seed 0 --case 17
"""

import argparse
import collections
import json
import os
import pathlib
import selectors
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
STARTING = 300  # Seconds; most of it writes good files.
GOOD = ("loaded", "refused")


class Worker:
    """The process of `worker.py`, its answers waited for only so long.

    Args:
        directory: Where the good files are, or go.
        script: What the process runs.
        seconds: How long a case may take on an idle machine.
    """

    def __init__(self, directory, script=HERE / "worker.py", seconds=20):
        self._directory, self._script, self._seconds = directory, script, seconds
        self._process = None

    def run(self, seed, number):
        """Returns what became of a case, a dictionary."""
        if self._process is None:
            self._start()
        self._process.stdin.write(f"{seed} {number}\n")
        self._process.stdin.flush()
        line = self._line(self._seconds * _load())
        if line:
            return json.loads(line)
        outcome = "hang" if line is None else "crash"
        detail = "" if line is None else f"status {self._process.wait()}"
        self.stop()
        return {"case": number, "subject": "?", "how": "?", "outcome": outcome, "detail": detail}

    def stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            self._process.stdout.close()
            self._process = None

    def _start(self):
        self._process = subprocess.Popen(
            [sys.executable, str(self._script), str(self._directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": str(HERE.parents[1])},
        )
        if self._line(STARTING) != "ready\n":
            self.stop()
            log = pathlib.Path(f"{self._directory}.log").read_text(errors="replace")
            raise RuntimeError(f"Expected the worker to start. Received: {log[-2000:]}")

    def _line(self, seconds):
        """The next line; empty if the process ended, None if it says nothing for so long."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                return None
        return self._process.stdout.readline()


def _load():
    """How many times as long things take beside what else runs here."""
    return max(1.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1))


def describe(seed, result):
    """A failure in words, with what makes it again."""
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    return (
        f"{result['outcome']}: {result['subject']}: {result['how']}: {result['detail']}\n"
        f"    KERAS_BACKEND={backend} python tests/damage/harness.py --seed {seed} "
        f"--case {result['case']}"
    )


def run(seed, numbers, directory, report=None):
    """Runs cases and returns what became of them, a list of dictionaries."""
    worker, results = Worker(directory), []
    try:
        for number in numbers:
            results.append(worker.run(seed, number))
            if report is not None:
                report(results[-1])
    finally:
        worker.stop()
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--case", type=int)
    parser.add_argument("--good", help="Directory of good files, to be kept.")
    options = parser.parse_args()
    alone = options.case is not None
    numbers = [options.case] if alone else range(options.first, options.first + options.cases)

    def report(result):
        if alone or result["outcome"] not in GOOD:
            print(describe(options.seed, result), flush=True)

    with tempfile.TemporaryDirectory() as temporary:
        good = options.good or f"{temporary}/good"
        results = run(options.seed, numbers, good, report)
    print(dict(collections.Counter(result["outcome"] for result in results)))
    costs = collections.Counter()
    for result in results:
        costs[result["subject"]] += result.get("cpu", 0)
    print(f"{sum(costs.values()):.0f} s of the processor, most for:", costs.most_common(12))
    return int(any(result["outcome"] not in GOOD for result in results))


if __name__ == "__main__":
    sys.exit(main())
