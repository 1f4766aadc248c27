"""What outputs mean, and how models that compute in their own way are seen."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import kdzoo
from kdzoo.graph import final_activation, outputs, taps
from kdzoo.graph.batch_norm_folding import fold_batch_normalization
from kdzoo.graph.exportable import Exportable, exportable, shape_model, student_of


def head(activation, units=3):
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(units, activation, name="last")(inputs))


def test_the_operations_that_give_probabilities_are_found():
    inner = head("softmax")
    inputs = keras.Input((4,))
    model = keras.Model(
        inputs, [inner(inputs), layers.Dense(2)(inputs), layers.Reshape((3, 1))(inner(inputs))]
    )
    assert final_activation.final_operations(model) == [inner, inner.get_layer("last")]
    assert final_activation.final_operations(head(None)) == []


def test_a_layer_of_another_model_does_not_hide_the_last_one():
    model = head("sigmoid", 1)
    passing = layers.Reshape((1,))
    inputs = keras.Input((4,))
    last = keras.Model(inputs, passing(model(inputs)))
    passing(keras.Input((1, 1)))  # Called again, in no model of ours.
    assert final_activation.final_activation(last) == "sigmoid"


def test_a_plain_model_says_the_usual_of_itself():
    model = exportable(head(None))
    assert not model.is_being_compressed
    assert not model.is_quantization_aware
    assert model.layers_in_float == []
    assert model.has_seen_data


def test_the_student_of_a_distiller_is_found():
    student = head(None)
    distiller = kdzoo.Distiller(head(None), student, kdzoo.losses.SoftTargets(2.0))
    assert student_of(distiller) is student
    assert student_of(student) is None
    assert shape_model(distiller) is student
    theirs = keras.distillation.Distiller(
        head(None), student, keras.distillation.LogitsDistillation()
    )
    assert student_of(theirs) is student


def test_the_student_of_a_training_model_of_the_users_own_is_found():
    class Own(keras.Model):
        def __init__(self, student):
            super().__init__()
            self.student = student

    student = head(None)
    assert student_of(Own(student)) is student
    assert shape_model(Own(student)) is student
    assert student_of(Own("a name")) is None


def test_shapes_are_those_of_a_graph_behind_a_model():
    class Own(Exportable, keras.Model):
        def graph_model(self):
            return graph

        def tapped_layer(self, path):
            return graph.get_layer(path)

    class Subclassed(keras.Model):
        pass

    graph = head(None)
    assert shape_model(Own()) is graph
    assert shape_model(kdzoo.Ensemble([graph])) is graph
    assert shape_model(graph) is graph
    assert shape_model(Subclassed()) is None
    assert shape_model(keras.Sequential([layers.Dense(2)])) is None
    assert shape_model("model") is None
    assert taps.find_layer(Own(), "last") is graph.get_layer("last")


def test_what_outputs_mean_is_told_in_its_order():
    inputs = keras.Input((4,))
    model = keras.Model(
        inputs,
        {
            "a": layers.Dense(3, "sigmoid")(inputs),
            "b": layers.Dense(1)(inputs),
            "c": layers.Dense(3)(inputs),
        },
    )
    assert outputs.output_types(model) == ["binary", None, "classes"]
    assert outputs.told_output_types(model) == ["binary", None, None]
    assert outputs.told_output_types(kdzoo.as_logits(model)) == ["binary", None, None]
    model.compile(loss={"a": "mse", "c": keras.losses.BinaryCrossentropy(from_logits=True)})
    assert outputs.output_types(model) == ["numbers", None, "binary"]
    assert outputs.output_types(model, {"b": "numbers", "c": "classes"}) == [
        *("numbers", "numbers", "classes")
    ]
    with pytest.raises(ValueError, match=r"by the names of the outputs, \['a', 'b', 'c'\]"):
        outputs.output_types(model, {"d": "numbers"})


def sigmoids(end, units=1, activation="sigmoid"):
    inputs = keras.Input((4, 4, 2))
    return keras.Model(inputs, end(layers.Conv2D(units, 1, activation=activation)(inputs)))


@pytest.mark.parametrize(
    "end",
    [
        lambda p: ops.squeeze(p, -1),
        lambda p: ops.reshape(p, (-1, 16)),
        lambda p: ops.transpose(p, (0, 2, 1, 3)),
        layers.Permute((2, 1, 3)),
        layers.Cropping2D(1),
        layers.UpSampling2D(interpolation="bilinear"),
        layers.Resizing(8, 8),
        layers.GlobalMaxPooling2D(),
        lambda p: layers.Concatenate()([p, layers.Activation("linear")(p)]),
        lambda p: ops.clip(p, 1e-6, 1 - 1e-6),
    ],
)
def test_a_sigmoid_is_seen_through_what_leaves_answers(end):
    model = sigmoids(end)
    assert outputs.output_types(model) == ["binary"]
    assert final_activation.final_activation(model) == "sigmoid"


def test_other_things_made_of_probabilities_mean_something_else():
    mixed = sigmoids(lambda p: layers.Concatenate()([p, layers.Conv2D(1, 1)(p)]))
    assert outputs.told_output_types(mixed) == [None]
    confidence = sigmoids(lambda p: ops.max(p, axis=-1, keepdims=True), 3, "softmax")
    assert outputs.told_output_types(confidence) == [None]


def test_what_as_logits_took_away_outlasts_a_copy_and_other_layers():
    inputs = keras.Input((4,))
    heads = [layers.Dense(3, "sigmoid")(inputs), layers.Dense(2)(inputs)]
    two = kdzoo.as_logits(keras.Model(inputs, heads))
    stripped = kdzoo.as_logits(head("sigmoid"))
    folded = fold_batch_normalization(stripped)
    assert outputs.told_output_types(folded) == ["binary"]
    for around in (
        keras.Sequential([inputs, layers.Rescaling(2.0), stripped]),
        keras.Model(inputs, stripped(inputs)),
        keras.Model(
            inputs, layers.Average()([stripped(inputs), layers.Reshape((3,))(stripped(inputs))])
        ),
    ):
        assert outputs.told_output_types(around) == ["binary"]
    first, second = two(inputs)
    assert outputs.told_output_types(keras.Model(inputs, [second, first])) == [None, "binary"]


def test_what_a_hinge_is_on():
    assert [outputs.type_of_loss(name) for name in ("hinge", "squared_hinge")] == ["binary"] * 2
    assert outputs.type_of_loss(keras.losses.Dice()) is None


def test_what_a_model_without_a_graph_gave_tells_its_columns():
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    given = {"b": np.zeros((2, 3)), "a": np.zeros((2, 4, 1))}
    assert outputs.output_types(Own()) == [None]
    assert outputs.output_types(Own(), outputs=given) == [None, "classes"]
    assert outputs.output_types(Own(), {"a": "binary"}, outputs=given) == ["binary", "classes"]
    assert outputs.output_types(Own(), loss={"a": "mse"}, outputs=given) == ["numbers", "classes"]
    assert outputs.output_types(Own(), outputs=np.zeros(2)) == [None]


def test_the_outputs_of_a_distiller_are_its_students():
    student = head("sigmoid", 1)
    distiller = kdzoo.Distiller(head("sigmoid", 1), student, kdzoo.losses.OutputRegression())
    assert outputs.output_types(distiller) == ["binary"]
    distiller.compile("sgd", "mse")
    assert outputs.output_types(distiller) == ["numbers"]
