"""Processes that are killed in every stage of every scheme, and go on to the same end."""

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
import json, os, pathlib, sys
sys.path.insert(0, {here!r})
import keras
import numpy as np
from small_schemes import CROSS_ENTROPY, batches, net
from kdzoo import schemes
from kdzoo.training.stage_callback import StageCallback
directory, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
class Say(StageCallback):
    def on_stage_begin(self, number, count, name):
        print("stage", flush=True)
    def on_train_batch_begin(self, batch, logs=None):
        print("step", flush=True)
options = dict(loss=CROSS_ENTROPY, metrics=["accuracy"], verbose=0, callbacks=[Say()])
{call}
weights = [weight for model in models for weight in model.get_weights()]
if weights:
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
    "hint_training": """
models = [net(6, 2)]
options |= dict(hint_epochs=4, epochs=5, activation="relu")
given = (net(8, 1), models[0], "features", "features", batches, directory)
_, history = schemes.hint_training(*given, **options)
""",
    "hint_training by labels": """
models = [net(6, 2)]
options |= dict(hint_epochs=4, epochs=5)
given = (net(8, 1), models[0], None, "features", batches, directory)
_, history = schemes.hint_training(*given, **options)
""",
    "born_again by a function": """
def student(generation):
    return net(6, int.from_bytes(os.urandom(4)) if directory.exists() else generation)
options |= dict(generations=2, epochs=3, seed=4)
models, history = schemes.born_again(student, batches, directory, teacher=net(8, 9), **options)
""",
    "ensemble": """
import kdzoo
x = np.random.default_rng(1).normal(size=(3000, 3, 2, 1)).astype("float32")
split = kdzoo.data.from_arrays(x, np.arange(3000) % 3, validation=0).train
def member(seed):
    print("stage", flush=True)
    print("step", flush=True)
    flat = [keras.Input((3, 2, 1)), keras.layers.Flatten()]
    return keras.Sequential([*flat, net(64, seed)])
members = [lambda seed=seed: member(seed) for seed in range(4)]
recorded = schemes.ensemble(members, split, directory)
(batch,) = recorded.batches(3000)
history, models = [], []
np.savez(out / "weights.npz", np.asarray(keras.tree.flatten(batch)[-1]))
""",
    "teacher_assistant": """
models = [net(width, width) for width in (9, 7, 6)]
_, history = schemes.teacher_assistant(net(12, 1), models, batches, directory, epochs=4, **options)
""",
}


@pytest.mark.large
@pytest.mark.parametrize("scheme", CALLS)
def test_a_scheme_killed_in_every_stage_ends_as_an_undisturbed_one(scheme, tmp_path):
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
    steps = [part.count("step\n") for part in said.split("stage\n")[1:]]
    rng = random.Random(scheme)
    # Within each stage, and within one of a single stage several times.
    for stage in range(len(steps)) if len(steps) > 1 else (0, 0, 0):
        process = start("killed")
        for _ in range(stage + 1):
            while process.stdout.readline() != "stage\n":
                assert process.poll() is None
        for _ in range(rng.randint(1, max(1, steps[stage] // 4))):
            process.stdout.readline()
        time.sleep(rng.uniform(0, 0.02))  # Within a step, or as an epoch is saved.
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
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
