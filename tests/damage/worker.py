"""The process that runs cases of damaged files: a line in, `SEED CASE`; a line of JSON out.

    python tests/damage/worker.py DIRECTORY

`DIRECTORY` holds the good files, which are written there if it is missing.
"""

import contextlib
import hashlib
import io
import json
import os
import pathlib
import random
import re
import resource
import shutil
import stat
import sys
import tempfile
import time
import traceback
import warnings

from damaging import NOT_FINITE

MOST_MEMORY = 1 << 30
MOST_TO_REFUSE = 100 << 20  # And twice the bytes on disk, of files that are not opened.
ADDRESSES = 6 << 30  # Beyond what is mapped at the start: what no case may come near.
_EXPECTED = (ValueError, OSError, RuntimeError)
_STEP = re.compile(r"\d+/\d+ .*: \d+\.\d s")  # A numbered step that took its time.
# What finite weights under checksums that fit may lead to: an error of the model, not of its file.
_OF_VALUES = (
    "Expected finite outputs",
    "Expected a finite loss",
    "Expected finite weights after",
    "Expected outputs within tolerance",
)
PACKAGE = str(pathlib.Path(__file__).parents[2] / "kdzoo") + os.sep


def main(directory):
    answers = os.fdopen(os.dup(1), "w")
    log = os.open(directory + ".log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    warnings.simplefilter("ignore")
    import keras

    from kdzoo.cli import terminal

    terminal.start_keras(training=True)
    from subjects import make_good, subjects

    good = pathlib.Path(directory)
    if not good.is_dir():
        make_good(good.with_suffix(".new"))
        good.with_suffix(".new").rename(good)
    known = subjects(keras.backend.backend() == "tensorflow")
    mapped = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + ADDRESSES,) * 2)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        seed, number = map(int, line.split())
        print(json.dumps(run_case(good, known, seed, number)), file=answers, flush=True)


def run_case(good, known, seed, number):
    """Makes a case, runs it and returns what became of it, a dictionary."""
    rng = random.Random(f"{seed} {number}")
    subject = rng.choices(known, [subject.weight for subject in known])[0]
    with tempfile.TemporaryDirectory(prefix="kdzoo-damage-") as root:
        place = prepared(good, subject, pathlib.Path(root))
        done = subject.spoil(place, subject.files(place), rng)
        said = {"case": number, "subject": subject.name, "how": f"{done.path}: {done.how}"}
        size = sum(512 * path.stat().st_blocks for path in place.rglob("*") if path.is_file())
        before, started, used = snapshot(place.parent), time.monotonic(), time.process_time()
        outcome, detail, peak = attempt(good, subject, place, done)
        written = changes(before, snapshot(place.parent), subject.writes)
        is_refused = outcome == "refused" and not subject.name.startswith("kdzoo ")
        if peak > (MOST_TO_REFUSE + 2 * size if is_refused else MOST_MEMORY):
            outcome, detail = "memory", f"{peak >> 20} MB; {outcome}: {detail}"
        if written:
            outcome, detail = "wrote elsewhere", f"{written[:3]}; {outcome}: {detail}"
        said["seconds"] = round(time.monotonic() - started, 2)
        said["cpu"] = round(time.process_time() - used, 2)
    return {**said, "outcome": outcome, "detail": detail, "peak": peak >> 20}


def prepared(good, subject, root):
    """A directory with copies of the good files that a subject needs."""
    place = root / "case"
    place.mkdir()
    (root / "outside").mkdir()
    (root / "outside" / "kept").write_text("kept")
    for name in subject.needs:
        source = good / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, place / name)
    return place


def attempt(good, subject, place, done):
    """Runs a subject; returns what it was, in a word and in detail, and the memory it took."""
    memory, shown, error = Memory(), io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(error):
            found = subject.run(place)
    except BaseException as raised:
        peak = memory.peak()
        return *of_error(raised, subject, place, done), peak
    peak = memory.peak()
    if subject.name.startswith("kdzoo "):
        return *of_command(found, error.getvalue(), subject, place, done), peak
    return *of_values(found, good, subject, done), peak


class Memory:
    """What this process holds at most, since this was made, beyond what it held then."""

    def __init__(self):
        with contextlib.suppress(OSError):
            pathlib.Path("/proc/self/clear_refs").write_text("5")
        self._before = self._status("VmRSS")

    def peak(self):
        return max(0, self._status("VmHWM") - self._before)

    @staticmethod
    def _status(name):
        for line in pathlib.Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) << 10
        return 0


def of_error(error, subject, place, done):
    """Whether an error is a sentence of kdzoo's that names the file."""
    text = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "nowhere"
    if not isinstance(error, _EXPECTED) or subject.name.startswith("kdzoo "):
        return "traceback", f"{text[:300]} at {where}"
    if not where.startswith(PACKAGE) and not isinstance(error, OSError):
        return "not kdzoo's", f"{text[:300]} at {where}"
    complaint = complaint_of(str(error), subject, place, done)
    return (complaint or "refused"), text[:400]


def complaint_of(text, subject, place, done):
    """What is wrong with a sentence; None if nothing is."""
    if "\n" in text.strip() or len(text) > 1200:
        return "no sentence"
    path = place / done.path
    is_of_values = done.resealed and not done.how.startswith(NOT_FINITE)
    if is_of_values and text.startswith(_OF_VALUES, text.find("Expected")):
        return None
    names = (path.name, str(path.parent), path.parent.name, *subject.known)
    if path.parent == place:
        names = (path.name, *subject.known)
    if not any(name in text for name in names):
        return "names no file"
    return None


def of_command(status, error, subject, place, done):
    """Whether a command ended well or in one line, after those of steps that ended well."""
    if status == 0:
        return "loaded", ""
    if status not in (1, 2):
        return "status", f"{status}: {error[:300]}"
    lines = [line for line in error.splitlines() if line.strip() and not _STEP.fullmatch(line)]
    if len(lines) != 1:
        return "no sentence", error[:600]
    return complaint_of(lines[0], subject, place, done) or "refused", lines[0][:400]


def of_values(found, good, subject, done):
    """Whether what was loaded is what was saved, or at least finite."""
    import numpy as np

    for name, value in found.items():
        value = np.asarray(value)
        if value.dtype.kind in "fc" and not np.isfinite(value).all():
            return "not finite", name
    if not subject.sealed or done.resealed:
        return "loaded", ""
    # A checkpoint that is damaged is passed over for the one before.
    before = subject.name == "restore" and found.get("epochs") == 1
    expected = good_values(good, subject, "state/epoch-0002" if before else None)
    differing = sorted(
        name
        for name in {*found, *expected}
        if name not in found
        or name not in expected
        or np.shape(found[name]) != np.shape(expected[name])
        or not np.allclose(found[name], expected[name], rtol=1e-4, atol=1e-5)
    )
    return ("other values", ", ".join(differing[:3])) if differing else ("loaded", "the same")


def good_values(good, subject, without=None):
    """What a subject loads of good files, or where one of them is not there."""
    import numpy as np

    key = hashlib.sha256(f"{subject.name} {without}".encode()).hexdigest()[:16]
    path = good.with_name(f"{good.name}-{key}.npz")
    if not path.exists():
        with tempfile.TemporaryDirectory() as root:
            place = prepared(good, subject, pathlib.Path(root))
            if without:
                shutil.rmtree(place / without)
            values = subject.run(place)
        np.savez(path, **values)
    return dict(np.load(path))


def snapshot(root):
    """What lies in a directory: name -> kind, time, size, and content if it is a file."""
    found = {}
    for path in sorted(root.rglob("*")):
        state = path.lstat()
        content = ""
        if stat.S_ISREG(state.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISLNK(state.st_mode):
            content = os.readlink(path)
        found[path.relative_to(root).as_posix()] = (stat.S_IFMT(state.st_mode), content)
    return found


def changes(before, after, allowed):
    """The names that differ, but for those below the names that may be written."""
    differing = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return [name for name in differing if not name.startswith(tuple(f"case/{x}" for x in allowed))]


if __name__ == "__main__":
    main(sys.argv[1])
