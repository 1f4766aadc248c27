"""Every example runs, in its smoke mode, and says what accuracy it reached."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

EXAMPLES = sorted((pathlib.Path(__file__).parents[2] / "examples").glob("[0-9]*.py"))


def test_there_are_examples():
    assert len(EXAMPLES) >= 4


@pytest.mark.tensorflow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path):
    done = subprocess.run(
        [sys.executable, path, "--smoke"],
        cwd=tmp_path,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = re.search(r"Test accuracy: ([\d.]+)%", done.stdout)
    assert found, done.stdout[-2000:]
    assert 0 < float(found[1]) <= 100
    for line in done.stderr.splitlines():
        assert "Warning" not in line, line
