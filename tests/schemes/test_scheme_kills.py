"""Processes that are killed at random moments of every scheme, and go on to the same end."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

HERE = pathlib.Path(__file__).parent
CHILD = """
import json, pathlib, sys
sys.path.insert(0, {here!r})
import keras
import numpy as np
from small_schemes import CROSS_ENTROPY, batches, net
from kdzoo import schemes
directory, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
class Say(keras.callbacks.Callback):
    def on_train_batch_begin(self, batch, logs=None):
        print("step", flush=True)
options = dict(loss=CROSS_ENTROPY, metrics=["accuracy"], verbose=0, callbacks=[Say()])
{call}
weights = [weight for model in models for weight in model.get_weights()]
np.savez(out / "weights.npz", *weights)
(out / "history.json").write_text(json.dumps(history))
"""
CALLS = {
    "mutual_learning": """
models = [net(8, 1, "a"), net(5, 2, "b"), net(4, 3, "c")]
_, history = schemes.mutual_learning(models, batches, directory, epochs=12, **options)
""",
    "mutual_learning, sequential": """
models = [net(8, 1, "a"), net(5, 2, "b")]
options |= dict(update="sequential", optimizer="rmsprop")
_, history = schemes.mutual_learning(models, batches, directory, epochs=12, **options)
""",
    "born_again": """
options |= dict(generations=3, epochs=3, variant="dkpp", seed=4)
models, history = schemes.born_again(net(6, 1), batches, directory, **options)
""",
    "lottery_ticket": """
options |= dict(rounds=2, epochs=3, rewind_epoch=1, teacher=net(9, 3), seed=4)
tickets, history = schemes.lottery_ticket(net(6, 1), batches, directory, **options)
models = [*tickets.models, *tickets.controls.values()]
""",
    "filter_pruning": """
options |= dict(target_macs=0.5, steps=3, epochs=3, sparsity_epochs=3, round_to=1, seed=4)
model, history = schemes.filter_pruning(net(16, 1), batches, directory, **options)
models = [model]
""",
    "deep_compression": """
options |= dict(sparsity=0.7, bits=3, rounds=2, epochs=4, teacher=net(12, 5))
small, history = schemes.deep_compression(net(40, 1), batches, directory, **options)
models = [small]
""",
    "specialists": """
from small_schemes import X, Y
del options["loss"]
options |= dict(classes=[[0], [1], [0, 2]], epochs=4, batch_size=4)
ensemble, history = schemes.specialists(net(8, 1), (X, Y), directory, **options)
models = [ensemble]
""",
    "teacher_assistant": """
models = [net(width, width) for width in (9, 7, 6)]
_, history = schemes.teacher_assistant(net(12, 1), models, batches, directory, epochs=4, **options)
""",
}


@pytest.mark.large
@pytest.mark.parametrize("scheme", CALLS)
def test_a_scheme_killed_at_random_moments_ends_as_an_undisturbed_one(scheme, tmp_path):
    def start(name):
        (tmp_path / name).mkdir(exist_ok=True)
        script = CHILD.format(here=str(HERE), call=CALLS[scheme])
        command = [sys.executable, "-c", script, tmp_path / name / "run", tmp_path / name]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
        )

    process = start("whole")
    said, errors = process.communicate()
    assert process.returncode == 0, errors[-2000:]
    steps, rng, ends = said.count("step\n"), random.Random(scheme), []
    for _ in range(6):
        process = start("killed")
        for _ in range(rng.randint(1, steps // 3)):
            process.stdout.readline()  # Empty where the run has ended before.
        time.sleep(rng.uniform(0, 0.05))  # Within a step, or as an epoch is saved.
        process.kill()
        process.communicate()
        ends.append(process.returncode)
    # From the first kill on the run is shorter, so that it may end before it is killed again.
    assert ends[0] == -signal.SIGKILL
    assert set(ends) <= {0, -signal.SIGKILL}
    process = start("killed")
    _, errors = process.communicate()
    assert process.returncode == 0, errors[-2000:]
    histories = [
        json.loads((tmp_path / n / "history.json").read_text()) for n in ("whole", "killed")
    ]
    assert histories[0] == histories[1]
    with (
        np.load(tmp_path / "whole" / "weights.npz") as expected,
        np.load(tmp_path / "killed" / "weights.npz") as found,
    ):
        assert expected.files == found.files
        for name in expected.files:
            np.testing.assert_array_equal(found[name], expected[name])
