"""The numbers a Distiller shows and follows, against NumPy and against keras.distillation."""

import keras
import numpy as np
import pytest
from keras import ops

import kdzoo
from kdzoo.losses import DecoupledSoftTargets, LogitRegression, SoftTargets


def log_softmax(logits):
    logits = np.asarray(logits, "float64")
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def soft_targets(teacher, student, temperature):
    log_p, log_q = log_softmax(teacher / temperature), log_softmax(student / temperature)
    return temperature**2 * (np.exp(log_p) * (log_p - log_q)).sum(-1)


def first_step(distiller, cross_entropy, x, y, **arguments):
    """Logs of one full-batch step that changes nothing (learning rate 0)."""
    distiller.compile(keras.optimizers.SGD(0.0), cross_entropy, metrics=["accuracy"])
    history = distiller.fit(x, y, batch_size=len(x), epochs=1, verbose=0, **arguments).history
    return {name: values[0] for name, values in history.items()}


def student_in_training(student, x):
    copy = keras.models.clone_model(student)
    copy.set_weights(student.get_weights())
    return ops.convert_to_numpy(copy(x, training=True))


@pytest.mark.parametrize("weighted", [False, True])
def test_every_part_of_the_loss_equals_numpy(make_net, data, cross_entropy, weighted):
    x, y, sample_weight = data
    teacher, student = make_net(8, seed=1), make_net(4, seed=2, regularizer="l2")
    logits, outputs = ops.convert_to_numpy(teacher(x)), student_in_training(student, x)
    losses = [SoftTargets(3.0), LogitRegression()]
    distiller = kdzoo.Distiller(teacher, student, losses, [1.0, 0.25], student_loss_weight=0.3)
    arguments = {"sample_weight": sample_weight} if weighted else {}
    logs = first_step(distiller, cross_entropy, x, y, **arguments)

    weight = sample_weight if weighted else 1.0
    hard = (weight * -log_softmax(outputs)[np.arange(24), y]).mean()
    soft = (weight * soft_targets(logits, outputs, 3.0)).mean()
    regression = (weight * 0.5 * ((logits - outputs) ** 2).sum(-1)).mean()
    penalty = 0.01 * (student.get_layer("stage1").get_weights()[0] ** 2).sum()
    expected = {
        "student_loss": hard,
        "soft_targets_loss": soft,
        "logit_regression_loss": regression,
        "distillation_loss": soft + 0.25 * regression,
        "loss": 0.3 * hard + 0.7 * (soft + 0.25 * regression) + penalty,
        "accuracy": (outputs.argmax(-1) == y).mean(),
    }
    assert set(logs) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-4, err_msg=name)


def test_class_weight_weighs_every_loss(make_net, data, cross_entropy):
    x, y, _ = data
    teacher, student = make_net(8, seed=1), make_net(4, seed=2)
    class_weight = {0: 0.5, 1: 2.0, 2: 3.0}
    weights = np.array([class_weight[label] for label in y], "float32")
    logs = []
    for arguments in ({"class_weight": class_weight}, {"sample_weight": weights}):
        distiller = kdzoo.Distiller(teacher, student, SoftTargets(3.0))
        logs.append(first_step(distiller, cross_entropy, x, y, **arguments))
    assert logs[0]["distillation_loss"] == pytest.approx(logs[1]["distillation_loss"], rel=1e-6)
    assert logs[0]["student_loss"] == pytest.approx(logs[1]["student_loss"], rel=1e-6)


def test_validation_shows_the_students_own_loss(make_net, data, cross_entropy):
    x, y, _ = data
    teacher, student = make_net(8, seed=1), make_net(4, seed=2, regularizer="l2")
    distiller = kdzoo.Distiller(teacher, student, [SoftTargets(3.0), LogitRegression()])
    logs = first_step(distiller, cross_entropy, x, y, validation_data=(x, y))
    student.compile(loss=cross_entropy, metrics=["accuracy"])
    expected = student.evaluate(x, y, verbose=0, return_dict=True)
    shown = {name[4:]: value for name, value in logs.items() if name.startswith("val_")}
    assert set(shown) == set(expected) == {"loss", "accuracy"}
    assert shown["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert set(distiller.evaluate(x, y, verbose=0, return_dict=True)) == {"loss", "accuracy"}


def test_it_trains_as_keras_distillation_does_with_a_correct_loss(make_net, data, check_weights):
    """Change one import: the same arguments lead to the same student."""
    x, y, _ = data
    teacher = make_net(8, seed=1)
    ends = []
    for module in (keras.distillation, kdzoo):
        student = make_net(4, seed=2)
        distiller = module.Distiller(
            teacher=teacher,
            student=student,
            distillation_losses=keras.distillation.LogitsDistillation(
                temperature=3.0, loss=keras.losses.KLDivergence()
            ),
            student_loss_weight=0.3,
        )
        distiller.compile(
            optimizer=keras.optimizers.SGD(0.1, momentum=0.9),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        distiller.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0)
        assert distiller.student is student
        ends.append(student.get_weights())
        teacher.trainable = True  # keras.distillation freezes it for good.
    check_weights(ends[1], ends[0], rtol=1e-3, atol=1e-5)


def test_labels_reach_the_losses_that_need_them(make_net, data, cross_entropy):
    x, y, _ = data
    teacher, student = make_net(8, seed=1), make_net(4, seed=2)
    outputs = student_in_training(student, x)
    loss = DecoupledSoftTargets()
    expected = loss(ops.convert_to_numpy(teacher(x)), outputs, labels=y)
    logs = first_step(kdzoo.Distiller(teacher, student, loss), cross_entropy, x, y)
    value = ops.convert_to_numpy(expected).mean()
    assert logs["distillation_loss"] == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_an_ensemble_teaches_its_average(make_net, data, cross_entropy, average):
    x, y, _ = data
    members, student = [make_net(4, seed=seed) for seed in (1, 2, 3)], make_net(4, seed=4)
    logits = np.stack([ops.convert_to_numpy(member(x)) for member in members])
    if average == "logits":
        averaged = logits.mean(0)
    else:
        averaged = np.log(np.exp(log_softmax(logits)).mean(0))
    expected = soft_targets(averaged, student_in_training(student, x), 2.0).mean()
    distiller = kdzoo.Distiller(kdzoo.Ensemble(members, average), student, SoftTargets(2.0))
    logs = first_step(distiller, cross_entropy, x, y)
    assert logs["distillation_loss"] == pytest.approx(expected, rel=1e-4)


def test_outputs_in_the_data_equal_a_live_teacher(make_net, data, cross_entropy, check_weights):
    x, y, sample_weight = data
    teacher = make_net(8, seed=1)
    teacher_logits = ops.convert_to_numpy(teacher(x))
    ends = []
    for given, targets in ((teacher, y), (None, {"label": y, "teacher": teacher_logits})):
        student = make_net(4, seed=2)
        distiller = kdzoo.Distiller(given, student, SoftTargets(3.0))
        distiller.compile(keras.optimizers.SGD(0.1), cross_entropy, metrics=["accuracy"])
        arguments = {"sample_weight": sample_weight, "batch_size": 8, "shuffle": False}
        distiller.fit(x, targets, epochs=2, verbose=0, validation_data=(x, y), **arguments)
        ends.append(student.get_weights())
    check_weights(ends[0], ends[1], rtol=1e-5, atol=1e-6)


def test_without_labels_the_teacher_alone_is_followed(make_net, data):
    x, _, _ = data
    teacher, student = make_net(8, seed=1), make_net(4, seed=2)
    distiller = kdzoo.Distiller(teacher, student, SoftTargets(2.0), student_loss_weight=0)
    distiller.compile(keras.optimizers.Adam(0.01))
    history = distiller.fit(x, batch_size=8, epochs=4, verbose=0).history
    assert history["distillation_loss"][-1] < history["distillation_loss"][0]
    assert history["loss"] == pytest.approx(history["distillation_loss"], rel=1e-6)
    assert "student_loss" in history or set(history) == {"loss", "distillation_loss"}


def test_transform_feeds_the_teacher_what_it_takes(make_net, data, cross_entropy):
    x, y, _ = data
    inputs = keras.Input((3, 3, 2))
    outputs = keras.layers.Dense(3)(keras.layers.Flatten()(inputs))
    teacher, student = keras.Model(inputs, outputs), make_net(4)

    def shrink(images):
        return 255.0 * ops.average_pool(images, 2, strides=2)

    pooled = x.reshape(24, 3, 2, 3, 2, 2).mean((2, 4))
    teacher_logits = ops.convert_to_numpy(teacher(255.0 * pooled))
    expected = soft_targets(teacher_logits, student_in_training(student, x), 100.0).mean()
    distiller = kdzoo.Distiller(teacher, student, SoftTargets(100.0), teacher_transform=shrink)
    logs = first_step(distiller, cross_entropy, x, y)
    assert logs["distillation_loss"] == pytest.approx(expected, rel=1e-3)


def test_taps_reach_nested_models(make_net, data, cross_entropy, maps_loss):
    x, y, _ = data
    backbone = make_net(8, seed=1, name="backbone")
    inputs = keras.Input((6, 6, 2))
    teacher = keras.Model(inputs, backbone(inputs))
    student = make_net(4, seed=2)
    loss = maps_loss("backbone/stage1", "stage1")
    distiller = kdzoo.Distiller(teacher, student, loss)
    kernel = ops.convert_to_numpy(loss.kernel).astype("float64")
    maps = [
        ops.convert_to_numpy(net.get_layer("stage1")(x)).astype("float64")
        for net in (backbone, student)
    ]
    expected = ((maps[0] - maps[1] @ kernel) ** 2).mean()
    logs = first_step(distiller, cross_entropy, x, y)
    assert logs["distillation_loss"] == pytest.approx(expected, rel=1e-4)


def test_several_inputs_and_outputs(cross_entropy):
    rng = np.random.default_rng(0)
    x = {name: rng.normal(size=(12, 4)).astype("float32") for name in ("left", "right")}
    y = {"a": rng.integers(0, 3, 12), "b": rng.integers(0, 2, 12)}

    def net(seed):
        keras.utils.set_random_seed(seed)
        inputs = {name: keras.Input((4,), name=name) for name in ("left", "right")}
        merged = keras.layers.Concatenate()([inputs["left"], inputs["right"]])
        outputs = {"a": keras.layers.Dense(3, name="a")(merged)}
        outputs["b"] = keras.layers.Dense(2, name="b")(merged)
        return keras.Model(inputs, outputs)

    teacher, student = net(1), net(2)
    theirs, ours = [
        {n: ops.convert_to_numpy(v) for n, v in m(x).items()} for m in (teacher, student)
    ]
    distiller = kdzoo.Distiller(teacher, student, SoftTargets(2.0))
    distiller.compile(keras.optimizers.SGD(0.0), {"a": cross_entropy, "b": cross_entropy})
    history = distiller.fit(x, y, batch_size=12, verbose=0).history
    expected = sum(soft_targets(theirs[name], ours[name], 2.0).mean() for name in "ab")
    assert history["distillation_loss"][0] == pytest.approx(expected, rel=1e-4)
    hard = sum(-log_softmax(ours[name])[np.arange(12), y[name]].mean() for name in "ab")
    assert history["student_loss"][0] == pytest.approx(hard, rel=1e-4)


def test_a_tapped_layer_that_is_named_logits_is_not_taken_for_the_output(data, check_weights):
    x, y, _ = data

    def net(units, scale, seed):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((6, 6, 2))
        hidden = keras.layers.Dense(units, name="logits")(keras.layers.Flatten()(inputs))
        return keras.Model(inputs, keras.layers.Rescaling(scale)(hidden))

    teacher, student = net(3, 5.0, 1), net(3, 7.0, 2)
    logits = [ops.convert_to_numpy(m(x)) / scale for m, scale in ((teacher, 5), (student, 7))]
    loss = LogitRegression(teacher_layer="logits", student_layer="logits")
    distiller = kdzoo.Distiller(teacher, student, loss, student_loss_weight=0.0)
    logs = first_step(distiller, None, x, y)
    expected = 0.5 * ((logits[0] - logits[1]) ** 2).sum(-1).mean()
    assert logs["distillation_loss"] == pytest.approx(expected, rel=1e-4)


def test_labels_by_output_name_reach_their_own_output(data):
    x, _, _ = data
    labels = {"zeta": np.zeros(24, "int32"), "alpha": np.full(24, 3, "int32")}

    def net(seed):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((6, 6, 2))
        flat = keras.layers.Flatten()(inputs)
        return keras.Model(inputs, [keras.layers.Dense(4, name=name)(flat) for name in labels])

    teacher, student = net(1), net(2)
    losses = [keras.losses.SparseCategoricalCrossentropy(from_logits=True) for _ in labels]
    values = []
    for y in (labels, list(labels.values())):
        distiller = kdzoo.Distiller(teacher, student, DecoupledSoftTargets())
        distiller.compile(keras.optimizers.SGD(0.0), losses)
        history = distiller.fit(x, y, batch_size=24, verbose=0).history
        values.append(history["distillation_loss"][0])
    assert values[0] == pytest.approx(values[1], rel=1e-5)


@pytest.fixture
def sequences():
    """Images of rows read as sequences (4, 5, 6), a model for each, labels and weights by step."""
    rng = np.random.default_rng(4)

    def net(seed):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((5, 6))
        return keras.Model(inputs, keras.layers.Dense(3)(inputs))

    x = rng.normal(size=(4, 5, 6)).astype("float32")
    return net(1), net(2), x, rng.integers(0, 3, (4, 5)), rng.uniform(0, 2, (4, 5))


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_weights_by_position_weigh_positions(sequences, cross_entropy, temperature):
    teacher, student, x, y, weights = sequences
    logits, outputs = (ops.convert_to_numpy(model(x)) for model in (teacher, student))
    distiller = kdzoo.Distiller(teacher, student, SoftTargets(temperature))
    logs = first_step(distiller, cross_entropy, x, y, sample_weight=weights.astype("float32"))
    expected = (weights * soft_targets(logits, outputs, temperature)).mean()
    assert logs["distillation_loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("weighted", [False, True])
def test_padding_counts_in_neither_loss(cross_entropy, weighted):
    def net(seed):
        keras.utils.set_random_seed(seed)
        inputs = keras.Input((10,))
        x = keras.layers.Embedding(20, 8, mask_zero=True)(inputs)
        x = keras.layers.LSTM(6, return_sequences=True)(x)
        return keras.Model(inputs, keras.layers.Dense(3)(x))

    teacher, student = net(1), net(2)
    rng = np.random.default_rng(5)
    x, y = rng.integers(1, 20, (4, 10)), rng.integers(0, 3, (4, 10))
    real = np.arange(10) < rng.integers(2, 9, (4, 1))
    x = x * real
    weight = rng.uniform(0.5, 2, (4, 10)).astype("float32") if weighted else np.float32(1)
    logits, outputs = (ops.convert_to_numpy(model(x)) for model in (teacher, student))
    distiller = kdzoo.Distiller(teacher, student, SoftTargets(3.0))
    arguments = {"sample_weight": weight} if weighted else {}
    logs = first_step(distiller, cross_entropy, x, y, **arguments)
    soft = soft_targets(logits, outputs, 3.0)
    hard = -np.take_along_axis(log_softmax(outputs), y[..., None], -1)[..., 0]
    for name, values in (("distillation_loss", soft), ("student_loss", hard)):
        expected = (weight * values)[real].sum() / real.sum()
        assert logs[name] == pytest.approx(expected, rel=1e-4), name


def test_weights_by_position_need_values_by_position(sequences, cross_entropy):
    teacher, student, x, y, weights = sequences
    loss = kdzoo.losses.SimilarityPreserving()
    distiller = kdzoo.Distiller(teacher, student, loss)
    with pytest.raises(ValueError, match="one weight for each sample"):
        first_step(distiller, cross_entropy, x, y, sample_weight=weights)


def test_labels_alone_may_come_in_a_dictionary(make_net, data, cross_entropy):
    x, y, _ = data
    distiller = kdzoo.Distiller(None, make_net(4), SoftTargets(2.0))
    distiller.compile("sgd", cross_entropy)
    plain = distiller.evaluate(x, y, verbose=0)
    assert distiller.evaluate(x, {"label": y}, verbose=0) == pytest.approx(plain, rel=1e-6)
