"""What the stages of a scheme run: one pass of a student and of its teacher for each step."""

import keras
import pytest
from count_calls import CountCalls
from small_schemes import CROSS_ENTROPY, Rows

from kdzoo.schemes import born_again, teacher_assistant

EPOCHS, STEPS = 2, 4  # Two batches an epoch.
OPTIONS = {"epochs": EPOCHS, "loss": CROSS_ENTROPY, "verbose": 0}

pytestmark = pytest.mark.tensorflow  # Elsewhere a teacher's variables stay as they are.


def counted_net(width):
    given = keras.Input((6,))
    x = keras.layers.Dense(width, "relu")(CountCalls(name="count")(given))
    return keras.Model(given, keras.layers.Dense(3)(x))


def passes(models):
    return [int(model.get_layer("count").calls) for model in models]


def test_generations_run_only_in_their_own_stage_and_as_the_teacher_of_the_next(tmp_path):
    teacher, student = counted_net(8), counted_net(4)
    students, _ = born_again(student, Rows(12), tmp_path, generations=2, teacher=teacher, **OPTIONS)
    assert passes([teacher, *students]) == [STEPS, 2 * STEPS, STEPS]
    assert passes([student]) == [0]


def test_assistants_run_only_in_their_own_stage_and_as_the_teacher_of_the_next(tmp_path):
    chain = [counted_net(width) for width in (8, 6, 4)]
    teacher_assistant(chain[0], chain[1:], Rows(12), tmp_path, **OPTIONS)
    assert passes(chain) == [STEPS, 2 * STEPS, STEPS]
