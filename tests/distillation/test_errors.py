"""Bad input: one sentence, with the remedy, before anything is lost."""

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.losses import LogitRegression, SoftTargets
from kdzoo.utils.keras_errors import plain_sentence


def test_unequal_class_counts(make_net):
    with pytest.raises(ValueError, match=r"same classes.*teacher's number of classes"):
        kdzoo.Distiller(make_net(8, classes=10), make_net(4, classes=9), SoftTargets(3.0))


@pytest.mark.parametrize("side", ["teacher", "student"])
def test_unknown_taps(make_net, side):
    loss = SoftTargets(3.0, **{f"{side}_layer": "logit"})
    with pytest.raises(ValueError, match=r"Unknown layer of .*'logit'. Did you mean 'logits'"):
        kdzoo.Distiller(make_net(8), make_net(4), loss)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("side", ["teacher", "student"])
def test_models_that_end_in_probabilities(make_net, side, activation):
    nets = {"teacher": make_net(8), "student": make_net(4)}
    nets[side] = make_net(8, activation=activation)
    with pytest.raises(ValueError, match=rf"ends in a {activation}; pass `kdzoo.as_logits\({side}"):
        kdzoo.Distiller(**nets, distillation_losses=SoftTargets(3.0))
    nets[side] = kdzoo.as_logits(nets[side])
    assert kdzoo.Distiller(**nets, distillation_losses=SoftTargets(3.0)).student is nets["student"]


def test_missing_loss(make_net):
    distiller = kdzoo.Distiller(make_net(8), make_net(4), SoftTargets(3.0))
    with pytest.raises(ValueError, match=r"Expected `loss`.*student_loss_weight=0"):
        distiller.compile("sgd")


def test_a_loss_of_probabilities_on_logits_is_pointed_out(make_net):
    distiller = kdzoo.Distiller(make_net(8), make_net(4), SoftTargets(3.0))
    for loss in (
        "sparse_categorical_crossentropy",
        keras.losses.SparseCategoricalCrossentropy(),
    ):
        with pytest.warns(UserWarning, match="from_logits=True"):
            distiller.compile("sgd", loss)


@pytest.mark.parametrize("weight", [-0.1, 1.1, "0.5", None, float("nan")])
def test_student_loss_weight_out_of_range(make_net, weight):
    with pytest.raises(ValueError, match=r"between 0 .* and 1"):
        kdzoo.Distiller(make_net(8), make_net(4), SoftTargets(3.0), student_loss_weight=weight)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [1.0, "2"], [1.0, float("nan")]])
def test_distillation_loss_weights(make_net, weights):
    losses = [SoftTargets(3.0), SoftTargets(4.0)]
    with pytest.raises(ValueError, match="2 numbers of at least 0"):
        kdzoo.Distiller(make_net(8), make_net(4), losses, weights)


@pytest.mark.parametrize("losses", [None, [], [None]])
def test_no_distillation_loss(make_net, losses):
    with pytest.raises(ValueError, match="at least one distillation loss"):
        kdzoo.Distiller(make_net(8), make_net(4), losses)


def test_models_that_are_none(make_net):
    with pytest.raises(ValueError, match=r"Expected `teacher` to be a `keras.Model`"):
        kdzoo.Distiller("resnet", make_net(4), SoftTargets(3.0))
    with pytest.raises(ValueError, match=r"Expected `student` to be a `keras.Model`"):
        kdzoo.Distiller(make_net(4), None, SoftTargets(3.0))


def test_one_model_as_both(make_net):
    net = make_net(4)
    with pytest.raises(ValueError, match="clone_model"):
        kdzoo.Distiller(net, net, SoftTargets(3.0))


def test_a_student_that_would_train_the_teachers_layers(make_net):
    teacher, loss = make_net(4), SoftTargets(3.0)
    for name in ("stage1", "norm", "count"):
        student = keras.Model(
            teacher.inputs,
            keras.layers.Dense(3)(keras.layers.Flatten()(teacher.get_layer(name).output)),
        )
        with pytest.raises(ValueError, match=r"leaves the teacher as it is.*(norm|stage1)/"):
            kdzoo.Distiller(teacher, student, loss)
    for layer in teacher.layers:
        layer.trainable = False
    distiller = kdzoo.Distiller(teacher, student, loss)
    teacher.get_layer("norm").trainable = True
    with pytest.raises(ValueError, match=r"leaves the teacher as it is.*norm"):
        distiller.compile("sgd", "mse")


def test_one_model_may_learn_from_its_own_outputs(make_net):
    whole = make_net(4)
    early = keras.layers.Dense(3)(keras.layers.Flatten()(whole.get_layer("stage1").output))
    student = keras.Model(whole.inputs, [early, whole.output])
    teacher = keras.Model(whole.inputs, [whole.output, whole.output])
    assert kdzoo.Distiller(teacher, student, SoftTargets(3.0)).student is student


def test_an_untrained_subclassed_teacher(make_net):
    class Unbuilt(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match="no weights yet"):
        kdzoo.Distiller(Unbuilt(), make_net(4), SoftTargets(3.0))


def test_other_inputs_need_a_transform(make_net):
    inputs = keras.Input((8, 8, 2))
    teacher = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    with pytest.raises(ValueError, match="teacher_transform="):
        kdzoo.Distiller(teacher, make_net(4), SoftTargets(3.0))


def test_an_empty_data_set(make_net, cross_entropy):
    distiller = kdzoo.Distiller(make_net(8), make_net(4), SoftTargets(3.0))
    distiller.compile("sgd", cross_entropy)
    with pytest.raises(ValueError, match="an empty data set"):
        distiller.fit(np.zeros((0, 6, 6, 2)), np.zeros((0,)), verbose=0)


@pytest.mark.parametrize("wrong", [3, -1])
@pytest.mark.parametrize("form", ["plain", "column", "structured"])
def test_labels_out_of_range(make_net, data, cross_entropy, wrong, form):
    x, y, _ = data
    y = np.where(np.arange(24) == 5, wrong, y)
    forms = {"plain": y, "column": y[:, None], "structured": {"label": y, "teacher": x}}
    distiller = kdzoo.Distiller(None, make_net(4), SoftTargets(3.0))
    distiller.compile("sgd", cross_entropy)
    with pytest.raises(ValueError, match=r"labels from 0 to 2.*number the classes from 0"):
        distiller.fit(x, forms[form], verbose=0)


def test_ignored_labels_are_no_error(make_net, data):
    x, y, _ = data
    y = np.where(np.arange(24) == 5, 255, y)
    distiller = kdzoo.Distiller(make_net(8), make_net(4), SoftTargets(3.0))
    options = {"from_logits": True, "ignore_class": 255}
    distiller.compile("sgd", keras.losses.SparseCategoricalCrossentropy(**options))
    assert np.isfinite(distiller.fit(x, y, verbose=0).history["loss"][0])


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras's own, at unknown sizes.
def test_data_sets_of_unknown_size_are_taken(make_net, data, cross_entropy):
    import tensorflow as tf

    x, y, _ = data
    batches = tf.data.Dataset.from_tensor_slices((x, y)).filter(lambda x, y: y < 2).batch(8)
    distiller = kdzoo.Distiller(make_net(8), make_net(4), SoftTargets(3.0))
    distiller.compile("sgd", cross_entropy)
    assert len(distiller.fit(batches, shuffle=False, verbose=0).history["loss"]) == 1


def test_nan_in_a_batch(make_net, data, cross_entropy):
    x, y, _ = data
    x = x.copy()
    x[13, 0, 0, 0] = np.nan
    distiller = kdzoo.Distiller(make_net(8), make_net(4), SoftTargets(3.0))
    distiller.compile("sgd", cross_entropy)
    with pytest.raises(ValueError, match=r"finite loss. Received: loss=nan in epoch 1, step 2"):
        distiller.fit(x, y, batch_size=8, shuffle=False, verbose=0)


def test_labels_that_are_missing(make_net, data, cross_entropy):
    distiller = kdzoo.Distiller(make_net(8), make_net(4), SoftTargets(3.0))
    distiller.compile("sgd", cross_entropy)
    with pytest.raises(ValueError, match="Expected labels for the student's loss"):
        distiller.fit(data[0], verbose=0)


def test_a_teacher_that_is_missing(make_net, data, cross_entropy):
    distiller = kdzoo.Distiller(None, make_net(4), SoftTargets(3.0))
    distiller.compile("sgd", cross_entropy)
    with pytest.raises(ValueError, match=r"set `distiller.teacher`"):
        distiller.fit(*data[:2], verbose=0)


def test_teacher_outputs_without_a_tap(make_net, data, cross_entropy):
    x, y, _ = data
    loss = SoftTargets(3.0, teacher_layer="aux")
    distiller = kdzoo.Distiller(None, make_net(4), loss)
    distiller.compile("sgd", cross_entropy)
    with pytest.raises(ValueError, match="dictionary with 'aux'"):
        distiller.fit(x, {"label": y, "teacher": np.zeros((24, 3))}, verbose=0)


def test_misspelt_public_names_suggest_the_nearest():
    with pytest.raises(AttributeError, match="Did you mean 'Distiller'"):
        kdzoo.Distiler  # noqa: B018


def test_an_ensembles_classes_and_inputs_are_checked_too(make_net):
    with pytest.raises(ValueError, match="the same classes"):
        kdzoo.Distiller(kdzoo.Ensemble([make_net(8, classes=4)]), make_net(4), SoftTargets(3.0))
    other = keras.Sequential(
        [keras.Input((5, 5, 2)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    with pytest.raises(ValueError, match="the same inputs"):
        kdzoo.Distiller(kdzoo.Ensemble([other]), make_net(4), SoftTargets(3.0))
    inputs = keras.Input((5,))
    several = keras.Model(inputs, [keras.layers.Dense(3)(inputs), keras.layers.Dense(3)(inputs)])
    with pytest.raises(ValueError, match="members of one output"):
        kdzoo.Ensemble([several])


def test_validation_data_are_looked_at(make_net, data, cross_entropy):
    x, y, _ = data
    distiller = kdzoo.Distiller(make_net(8), make_net(4), SoftTargets(3.0))
    distiller.compile("sgd", cross_entropy)
    with pytest.raises(ValueError, match="labels from 0 to 2"):
        distiller.fit(x, y, validation_data=(x, y + 1), verbose=0)


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras's own, at unknown sizes.
def test_streams_say_it_in_one_sentence_too(make_net, data, cross_entropy):
    import tensorflow as tf

    x, y, _ = data
    distiller = kdzoo.Distiller(make_net(8), make_net(4), SoftTargets(3.0))
    distiller.compile("sgd", cross_entropy)
    wrong = tf.data.Dataset.from_tensor_slices((x, y + 7)).batch(8)
    with pytest.raises(ValueError, match=r"classes of the student.*label \d+; number") as caught:
        distiller.fit(wrong, shuffle=False, verbose=0)
    assert len(str(caught.value)) < 300
    empty = tf.data.Dataset.from_tensor_slices((x, y)).batch(8).filter(lambda x, y: False)
    with pytest.raises(ValueError, match="a data set without a batch"):
        distiller.fit(empty, shuffle=False, verbose=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: LogitRegression(mean=float("nan")),
        lambda: kdzoo.losses.DecoupledSoftTargets(target_weight=-1),
        lambda: kdzoo.losses.DecoupledSoftTargets(non_target_weight=float("nan")),
    ],
)
def test_numbers_that_make_no_sense_are_refused(make):
    with pytest.raises(ValueError, match="Expected"):
        make()


def test_numpy_numbers_are_numbers():
    assert SoftTargets(np.float32(4)).temperature == 4.0
    assert SoftTargets(np.int64(4)).temperature == 4.0


class Complaining(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        raise ValueError("of the callback's own\nin two lines")


@pytest.mark.parametrize(
    ("callback", "said"),
    [
        (Complaining(), "^of the callback's own\nin two lines$"),
        (keras.callbacks.LearningRateScheduler(lambda epoch: "fast"), "^The output of the `sch"),
    ],
)
def test_what_a_callback_raises_stays_as_it_is(callback, said, make_net, data, cross_entropy):
    distiller = kdzoo.Distiller(make_net(8), make_net(4), SoftTargets(3.0))
    distiller.compile("sgd", cross_entropy)
    with pytest.raises(ValueError, match=said):
        distiller.fit(*data[:2], verbose=0, callbacks=[callback])
    assert keras.config.is_traceback_filtering_enabled()


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.head = keras.layers.Dense(3)

    def call(self, inputs, training=None):
        if training:
            raise ValueError("of the student's own")
        return self.head(keras.ops.mean(inputs, axis=(1, 2)))


def test_what_a_student_raises_is_no_page(make_net, data, cross_entropy):
    student = Subclassed()
    student(data[0][:1])
    distiller = kdzoo.Distiller(make_net(8), student, SoftTargets(3.0))
    distiller.compile("sgd", cross_entropy)
    with pytest.raises(ValueError, match="of the student's own") as error:
        distiller.fit(*data[:2], verbose=0)
    assert str(error.value) == "of the student's own"


def test_an_error_that_says_nothing_is_named():
    assert "Received: ValueError" in plain_sentence(ValueError())


def test_an_output_without_a_loss_needs_no_labels(cross_entropy):
    def made():
        inputs = keras.Input((4,))
        return keras.Model(inputs, [keras.layers.Dense(3)(inputs), keras.layers.Dense(3)(inputs)])

    x, y = np.zeros((8, 4), "float32"), np.arange(8) % 3
    distiller = kdzoo.Distiller(made(), made(), SoftTargets(3.0))
    distiller.compile("sgd", [cross_entropy, None])
    history = distiller.fit(x, [y, None], verbose=0, validation_data=(x, [y, None])).history
    # Of zeros and no bias all three logits are alike.
    np.testing.assert_allclose(history["val_loss"], np.log(3), rtol=0.05)
    assert np.isfinite(history["loss"]).all()


@pytest.mark.filterwarnings("ignore:When providing `inputs` as a dict")
def test_inputs_go_by_the_keys_of_the_model(cross_entropy):
    def made():
        one, two = keras.Input((4,), name="b"), keras.Input((2,), name="a")
        outputs = keras.layers.Dense(3)(keras.layers.Concatenate()([one, two]))
        return keras.Model({"a": one, "b": two}, outputs)

    distiller = kdzoo.Distiller(made(), made(), SoftTargets(3.0))
    distiller.compile("sgd", cross_entropy)
    x, y = {"a": np.zeros((8, 4)), "b": np.zeros((8, 2))}, np.arange(8) % 3
    distiller.fit(x, y, verbose=0)
    with pytest.raises(ValueError, match=r"Expected x of shape \(samples, 4\)"):
        distiller.fit({"a": x["b"], "b": x["a"]}, y, verbose=0)


def test_an_optional_input_may_be_none(cross_entropy):
    class Adding(keras.layers.Layer):
        def call(self, inputs, more=None):
            return inputs if more is None else inputs + more

    def made():
        inputs = [keras.Input((4,)), keras.Input((4,), optional=True)]
        return keras.Model(inputs, keras.layers.Dense(3)(Adding()(*inputs)))

    distiller = kdzoo.Distiller(made(), made(), SoftTargets(3.0))
    distiller.compile("sgd", cross_entropy)
    x, y = np.zeros((8, 4), "float32"), np.arange(8) % 3
    distiller.fit([x, None], y, verbose=0)
    evaluated = distiller.evaluate([x, None], y, verbose=0)
    np.testing.assert_allclose(evaluated, np.log(3), rtol=0.05)
