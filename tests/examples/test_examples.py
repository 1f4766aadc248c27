"""Every example runs, in its smoke mode, and says what accuracy or error it reached."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

EXAMPLES = sorted((pathlib.Path(__file__).parents[2] / "examples").glob("[0-9]*.py"))


def test_there_are_examples():
    assert len(EXAMPLES) >= 10


# A third of a minute each and more; MobileNetV2 takes minutes.
@pytest.mark.large
@pytest.mark.tensorflow
@pytest.mark.parametrize("path", EXAMPLES, ids=[path.stem for path in EXAMPLES])
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
    found = re.search(r"Test (?:accuracy|error): ([\d.]+)%", done.stdout)
    assert found, done.stdout[-2000:]
    assert 0 < float(found[1]) <= 100
    assert "--smoke shows that it runs." in done.stdout  # Not that kdzoo's students are so bad.
    for line in done.stderr.splitlines():
        # What is left out of a compression is said by a warning.
        said = re.search(r"UserWarning: Not (pruned|clustered) in", line)
        assert "Warning" not in line or said, line
