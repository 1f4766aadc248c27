"""Keras's own tests of its Distiller, run on kdzoo's but for the differences that are documented.

The files lie in the installed Keras. Nothing of them is in kdzoo but the lines that differ.
"""

import pathlib
import types
import unittest

import keras
import pytest

FOLDER = pathlib.Path(keras.__file__).parent / "src" / "distillation"
TOTAL = ('"total_loss"', '"loss"')  # The name of the sum in the logs.
IMPORT = ("from keras.src.distillation.distiller import Distiller", "from kdzoo import Distiller")
# What a test file says -> what it says of kdzoo; docs/distillation.md lists these differences.
DIFFERENCES = {
    "distillation_loss_test.py": [
        IMPORT,
        TOTAL,
        # Layers are tapped in the one pass that is made; there is no second model.
        ("self.assertIsNotNone(distiller._teacher_feature_extractor)", "pass"),
        ("self.assertIsNotNone(distiller._student_feature_extractor)", "pass"),
        ("distiller._teacher_feature_extractor.outputs", "['', *distiller._teacher_taps]"),
        ("distiller._student_feature_extractor.outputs", "['', *distiller._student_taps]"),
    ],
    "distiller_test.py": [
        IMPORT,
        TOTAL,
        ('"val_total_loss"', '"val_loss"'),
        # The teacher is left as it was found.
        ("self.assertFalse(self.teacher.trainable)", "self.assertTrue(self.teacher.trainable)"),
        ("self.assertFalse(new_teacher.trainable)", "self.assertTrue(new_teacher.trainable)"),
        # A teacher without weights is refused.
        (
            "        self.assertTrue(new_teacher.trainable)  #",
            "        new_teacher(self.x[:2])\n        self.assertTrue(new_teacher.trainable)  #",
        ),
        (
            "        # Create distiller with single distillation_loss",
            "        teacher(np.zeros((2, 20))), student(np.zeros((2, 20)))",
        ),
        # Weights are a tuple; losses of Keras are wrapped, and as they were in `.loss`.
        ("distillation_loss_weights, [0.7, 0.3]", "distillation_loss_weights, (0.7, 0.3)"),
        (".distillation_losses[0]", ".distillation_losses[0].loss"),
        # A saved distiller carries the student alone.
        ('            "teacher",\n', ""),
    ],
}
COUNTS = {"distillation_loss_test.py": 5, "distiller_test.py": 11}


@pytest.mark.large
@pytest.mark.parametrize("name", DIFFERENCES)
# Keras's tests give a loss of probabilities to a model of logits, and so does its default loss.
@pytest.mark.filterwarnings("ignore:The loss 'sparse_categorical_crossentropy' expects")
@pytest.mark.filterwarnings("ignore:`keras.distillation.LogitsDistillation` applies")
# What Keras says of every model that is compiled, saved before it is trained, and loaded.
@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer")
def test_keras_own_tests_pass(name):
    if not (FOLDER / name).exists():
        pytest.skip("This Keras comes without its tests.")
    source = (FOLDER / name).read_text("utf-8")
    source = source.replace("@pytest.mark.requires_trainable_backend\n", "")  # Keras's own mark.
    for theirs, ours in DIFFERENCES[name]:
        assert theirs in source, f"Keras's {name} says no more: {theirs}"
        source = source.replace(theirs, ours)
    module = types.ModuleType(f"keras_{name.removesuffix('.py')}")
    exec(compile(source, FOLDER / name, "exec"), module.__dict__)
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromModule(module).run(result)
    problems = [f"{test}\n{text}" for test, text in result.failures + result.errors]
    assert not problems, "\n".join(problems)
    assert result.testsRun - len(result.skipped) >= COUNTS[name]
