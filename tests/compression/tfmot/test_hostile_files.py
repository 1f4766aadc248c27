"""Files of attackers: nothing of them runs, and they are refused in a sentence."""

import json
import random
import zipfile

import hostile
import keras
import numpy as np
import pytest
from compression_helpers import NothingQuantized

from kdzoo import compression
from kdzoo.cli import main

pytestmark = pytest.mark.tensorflow

MARKED = "QuantizeAnnotate"


@keras.saving.register_keras_serializable("tests")
class OfTheUser(NothingQuantized):
    """As users write them: what it is given is kept, and handed on by `get_config`."""

    def __init__(self, bits=8):
        self.bits = bits

    def get_config(self):
        return {"bits": self.bits}


@keras.saving.register_keras_serializable("tests")
class ScheduleOfTheUser(compression.ConstantSparsity):
    pass


@pytest.fixture
def payload(tmp_path):
    """An object that leaves a file when tf_keras makes it."""
    return hostile.runs(tmp_path / "ran")


def annotated(quantize_config):
    """A quantization-aware model's configuration whose dense layer is marked so, of a file."""
    layer = compression.quantize_annotate_layer(keras.layers.Dense(3, name="out"))
    config = _config(compression.quantize_apply(hostile.network(layer)))
    (marked,) = (part for part in list(_parts(config)) if part.get("class_name") == MARKED)
    marked["config"]["quantize_config"] = quantize_config
    return config


def eight_bits(**fields):
    given = {"weight_attrs": ["kernel"], "activation_attrs": ["activation"]}
    given |= {"quantize_output": False, **fields}
    return {"class_name": "Default8BitQuantizeConfig", "config": given}


def _config(model):
    return json.loads(json.dumps(keras.saving.serialize_keras_object(model)))


def _parts(config):
    """Yields all dictionaries in a configuration."""
    if isinstance(config, dict):
        yield config
    if isinstance(config, dict | list):
        for part in config.values() if isinstance(config, dict) else config:
            yield from _parts(part)


def _with_masking(model, value):
    """A compressed model's configuration in whose `Masking` there is another value."""
    config = _config(model)
    (masking,) = (part for part in list(_parts(config)) if part.get("class_name") == "Masking")
    masking["config"]["mask_value"] = value
    return config


def masked():
    masking = keras.layers.Masking(name="masking")
    return hostile.network(keras.layers.Reshape((2, 2)), masking, keras.layers.LSTM(3, name="out"))


def of_operations():
    """A model of `keras.ops` and a normalization."""
    inputs = keras.Input((4, 4, 2))
    x = keras.layers.Normalization(mean=0.0, variance=1.0, name="normed")(inputs)
    x = keras.ops.mean(keras.ops.concatenate([x, x], axis=-1), axis=(1, 2), keepdims=False)
    return keras.Model(inputs, keras.layers.Dense(64, name="out")(x))


def attacks(payload):
    """Name -> configuration of a model that runs the payload, or would have."""
    inside = hostile.passive(hostile.wrappers_of(payload)[0])
    lists = {"weight_attrs": inside, "activation_attrs": inside, "quantize_output": inside}
    found = {part["class_name"]: annotated(part) for part in hostile.wrappers_of(payload)}
    found |= {name: annotated(eight_bits(**{name: value})) for name, value in lists.items()}
    found["a list of attributes"] = annotated(eight_bits(weight_attrs=[inside]))
    held = {"class_name": "OutputOnlyConfig", "config": {"quantize_config": inside}}
    found["OutputOnlyConfig"] = annotated(held)
    held = {"config": inside, "num_bits": 8, "init_min": 0.0, "init_max": 1.0}
    held = {"class_name": "FixedQuantizeConfig", "config": {**held, "narrow_range": False}}
    found["FixedQuantizeConfig"] = annotated(held)
    bits = {"class_name": "DefaultNBitQuantizeConfig"}
    bits["config"] = {**eight_bits()["config"], "num_bits_weight": inside}
    found["bits"] = annotated(bits)
    of_user = {"class_name": "OfTheUser", "registered_name": "tests>OfTheUser"}
    found["a class of the user's"] = annotated({**of_user, "config": {"bits": inside}})
    found["deep in it"] = annotated({**of_user, "config": {"bits": [{"a": [inside]}]}})
    found["a layer for a configuration"] = annotated(
        {"class_name": "Dense", "registered_name": "Dense", "config": {"units": 3}}
    )
    found["a class of kdzoo's"] = annotated(
        {"class_name": "Ensemble", "registered_name": "kdzoo>Ensemble", "config": {"members": []}}
    )
    pruned = compression.prune_low_magnitude(masked())
    found["an argument of a pruned layer"] = _with_masking(pruned, inside)
    clustered = compression.cluster_weights(masked(), 2)
    found["an argument of a clustered layer"] = _with_masking(clustered, inside)
    found |= _by_settings(inside)
    return found


def _by_settings(inside):
    """Attacks through what compressed models keep of their own."""
    models = {
        "pruned": compression.prune_low_magnitude(hostile.network()),
        "clustered": compression.cluster_weights(hostile.network(), 2),
        "quantized": compression.quantize_model(hostile.network()),
    }
    schedule = {"class_name": "ConstantSparsity"}
    schedule["config"] = {"target_sparsity": 0.5, "begin_step": 0, "frequency": inside}
    own = {"class_name": "ScheduleOfTheUser", "registered_name": "tests>ScheduleOfTheUser"}
    own["config"] = {"target_sparsity": 0.5, "begin_step": 0, "frequency": inside}
    changes = {
        ("pruned", "pruning_schedule"): [schedule, own, inside],
        ("pruned", "pruning_policy"): [inside],
        ("pruned", "block_size"): [inside, [inside, inside]],
        ("pruned", "layers_to_prune"): [inside, [inside]],
        ("clustered", "number_of_clusters"): [inside],
        ("clustered", "cluster_centroids_init"): [inside],
        ("quantized", "scheme"): [
            inside,
            {"class_name": "Default8BitQuantizeScheme", "config": {"disable_per_axis": inside}},
        ],
        ("quantized", "prefix"): [inside],
        ("quantized", "kernels"): [inside],
        ("quantized", "statistics"): [{"out": [inside]}, {"out": [[0.0] * 12, [0.0] * 3]}],
        ("quantized", "dtype"): [inside],
    }
    found = {}
    for (model, field), values in changes.items():
        for number, value in enumerate(values):
            config = _config(models[model])
            config["config"][field] = value
            found[f"{field} of a {model} model, {number}"] = config
    return found


def test_attacks_run_nothing_and_are_refused(payload, tmp_path):
    for name, config in attacks(payload).items():
        with hostile.watching() as unmarshalled:
            with pytest.raises((ValueError, TypeError)) as caught:
                keras.saving.deserialize_keras_object(json.loads(json.dumps(config)))
            assert not (tmp_path / "ran").exists(), name
            assert unmarshalled == [], name
        # Keras itself makes no such `Masking`.
        said = "Expected" if "argument" not in name else "could not be deserialized"
        assert said in str(caught.value), name


def test_the_payload_runs_where_it_is_let(payload, tmp_path):
    """So that the tests around this one can fail."""
    import tensorflow_model_optimization as tfmot
    import tf_keras

    scope = tfmot.quantization.keras.quantize_scope()
    with (
        hostile.watching() as unmarshalled,
        scope,
        pytest.raises(ValueError, match="You passed an instance of type: Sequential"),
    ):
        tf_keras.layers.deserialize(hostile.wrappers_of(payload)[0], use_legacy_format=True)
    assert (tmp_path / "ran").exists()
    assert unmarshalled


class TestRoadsIn:
    """One attack by every function that opens a model."""

    @pytest.fixture
    def config(self, payload):
        return annotated(hostile.wrappers_of(payload)[0])

    @pytest.fixture
    def file(self, config, tmp_path):
        path = tmp_path / "model.keras"
        compression.quantize_model(hostile.network()).save(path)
        return self.with_config(path, config)

    def with_config(self, path, config):
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        members["config.json"] = json.dumps(config)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return path

    def test_a_keras_file(self, file, tmp_path):
        with pytest.raises((ValueError, TypeError), match="Expected"):
            keras.saving.load_model(file)
        assert not (tmp_path / "ran").exists()

    def test_json(self, config, tmp_path):
        with pytest.raises((ValueError, TypeError), match="Expected"):
            keras.models.model_from_json(json.dumps(config))
        assert not (tmp_path / "ran").exists()

    def test_a_configuration(self, config, tmp_path):
        with pytest.raises((ValueError, TypeError), match="Expected"):
            compression.QuantizedModel.from_config(config["config"])
        assert not (tmp_path / "ran").exists()

    def test_an_hdf5_file(self, payload, tmp_path):
        import h5py

        path = tmp_path / "model.h5"
        layer = compression.quantize_annotate_layer(keras.layers.Dense(3, name="out"))
        model = hostile.network(layer)
        model.save(path)
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            (marked,) = (part for part in _parts(config) if MARKED in str(part.get("class_name")))
            marked["config"]["quantize_config"] = hostile.wrappers_of(payload)[0]
            file.attrs["model_config"] = json.dumps(config)
        with pytest.raises((ValueError, TypeError), match="Expected"):
            keras.saving.load_model(path)
        assert not (tmp_path / "ran").exists()

    def test_the_command_line(self, file, tmp_path, capsys):
        assert main(["export", str(file), str(tmp_path / "model.tflite")]) == 1
        said = capsys.readouterr().err
        assert said.startswith("kdzoo: Expected")
        assert str(file) in said
        assert not (tmp_path / "ran").exists()
        assert not (tmp_path / "model.tflite").exists()


def test_a_lambda_of_tf_keras_is_out_of_reach_within_a_wrapping(payload, tmp_path):
    """Whatever a check may have missed: the deserializer itself makes none."""
    import tf_keras

    from kdzoo.compression.tfmot.config_checks import nothing_runs

    with nothing_runs():
        for legacy in (True, False):
            with pytest.raises(ValueError, match=r"run nothing|disallowed"):
                tf_keras.layers.deserialize(payload, use_legacy_format=legacy)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("value", [{"class_name": "Lambda"}, [{"a": 1}], "/etc/passwd", "x" * 300])
def test_an_argument_that_is_no_plain_value_is_not_handed_on(value):
    """Whatever a layer of Keras takes, or will take one day."""
    layer = keras.layers.Dropout(0.5, name="drop")
    model = hostile.network(layer, keras.layers.Dense(3))
    layer.noise_shape = value
    with pytest.raises(ValueError, match="'drop', a Dropout: tf_keras is not given noise_shape"):
        compression.prune_low_magnitude(model)
    with pytest.raises((ValueError, TypeError), match="noise_shape"):  # Keras's copy, or ours.
        compression.quantize_model(model)


@pytest.mark.parametrize("verb", [compression.prune_low_magnitude, compression.cluster_weights])
@pytest.mark.parametrize("field", ["keepdims", "invert", "axis"])
def test_attributes_of_operations_are_not_handed_on(verb, field, payload, tmp_path):
    """What a file says of an operation in the graph, and of a normalization, reaches no layer."""
    settings = (2,) if verb is compression.cluster_weights else ()
    config = _config(verb(of_operations(), *settings))
    classes = {"keepdims": "Mean", "invert": "Normalization", "axis": "Concatenate"}
    inside = hostile.passive(hostile.wrappers_of(payload)[0])
    changed = [part for part in list(_parts(config)) if part.get("class_name") == classes[field]]
    assert changed
    for part in changed:
        part["config"][field] = inside
    with pytest.raises((ValueError, TypeError, RuntimeError)) as caught:
        keras.saving.deserialize_keras_object(config)
    assert not (tmp_path / "ran").exists()
    # Keras makes no such concatenation itself.
    assert field == "axis" or "Expected numbers and words for a" in str(caught.value)


class TestWhatIsTaken:
    """What good files hold is taken, and what nearly is it is refused."""

    @pytest.mark.parametrize(
        "given",
        [
            eight_bits(),
            eight_bits(activation_attrs=[], quantize_output=True),
            {"class_name": "NoOpQuantizeConfig", "config": {}},
            {"class_name": "Default8BitOutputQuantizeConfig", "config": {}},
            {"class_name": "OutputOnlyConfig", "config": {"quantize_config": eight_bits()}},
            {
                "class_name": "OfTheUser",
                "registered_name": "tests>OfTheUser",
                "config": {"bits": [4, {"a": "b"}, None]},
            },
            {
                "class_name": "OfTheUser",
                "registered_name": "tests>OfTheUser",
                "config": {
                    "bits": {
                        "class_name": "LastValueQuantizer",
                        "config": {
                            "num_bits": 4,
                            "per_axis": False,
                            "symmetric": True,
                            "narrow_range": True,
                        },
                    }
                },
            },
        ],
    )
    def test_good_ones(self, given):
        layer = compression.QuantizeAnnotate(keras.layers.Dense(3, name="out"), given)
        again = layer.get_config()["quantize_config"]
        assert again["class_name"] == given["class_name"]
        x = np.ones((2, 4), "float32")
        quantized = compression.quantize_apply(hostile.network(layer))
        loaded = keras.saving.deserialize_keras_object(_config(quantized))
        loaded.set_weights(quantized.get_weights())
        np.testing.assert_allclose(loaded(x), quantized(x), atol=1e-6)

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (eight_bits(weight_attrs=["__class__"]), "'weight_attrs'.*__class__"),
            (eight_bits(weight_attrs="kernel"), "'weight_attrs'.*'kernel'"),
            (eight_bits(weight_attrs=["kernel"] * 17), "'weight_attrs'"),
            (eight_bits(quantize_output=1), "'quantize_output'.*=1"),
            (eight_bits(more=1), "Received: 'more'"),
            ({"class_name": "Default8BitQuantizeConfig", "config": {}}, "weight_attrs=none"),
            ({"class_name": "Default8BitQuantizeConfig", "config": 3}, "Received: 3"),
            ({"class_name": "Default8BitQuantizeConfig"}, "weight_attrs=none"),
            ({"class_name": ["NoOpQuantizeConfig"], "config": {}}, "class_name="),
            ({"config": {}}, "class_name=None"),
            ({"class_name": "LastValueQuantizer", "config": {}}, "known here.*LastValueQuantizer"),
            ({"class_name": "QuantizeAwareActivation", "config": {}}, "known here"),
            ({"class_name": "relu", "config": {}}, "known here; register.*'relu'"),
        ],
    )
    def test_bad_ones(self, given, said):
        with pytest.raises(ValueError, match=said):
            compression.QuantizeAnnotate(keras.layers.Dense(3, name="out"), given)

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            (
                {"weight_attrs": ["add_loss"]},
                "name of a weight of 'quantize_annotate_out'.*'add_loss'",
            ),
            (
                {"weight_attrs": ["activation"]},
                "name of a weight of 'quantize_annotate_out'.*'activation'",
            ),
            (
                {"activation_attrs": ["units"]},
                "name of an activation of 'quantize_annotate_out'.*'units'",
            ),
            (
                {"activation_attrs": ["missing"]},
                "name of an activation of 'quantize_annotate_out'.*'missing'",
            ),
        ],
    )
    def test_attributes_are_those_of_the_layer(self, fields, said):
        given = {"weight_attrs": ["kernel"], "activation_attrs": ["activation"], **fields}
        layer = compression.QuantizeAnnotate(keras.layers.Dense(3, name="out"), eight_bits(**given))
        with pytest.raises(ValueError, match=said):
            compression.quantize_apply(hostile.network(layer))


class TestFuzz:
    """Random changes to good configurations make no object but those on the list."""

    ALLOWED = frozenset(
        {
            *("InputLayer", "Dense", "Functional", "Masking", "Reshape", "LSTM", "LSTMCell"),
            *("GlorotUniform", "Orthogonal", "Zeros", "VarianceScaling", "Ones"),
            *("QuantizeAnnotate", "QuantizeWrapper", "QuantizeWrapperV2", "QuantizeLayer"),
            *("QuantizeAwareActivation", "NoOpActivation"),
            *(
                "MovingAverageQuantizer",
                "LastValueQuantizer",
                "AllValuesQuantizer",
                "FixedQuantizer",
            ),
            *("Default8BitQuantizeConfig", "Default8BitOutputQuantizeConfig", "NoOpQuantizeConfig"),
            *("OutputOnlyConfig", "FixedQuantizeConfig", "ConstantSparsity", "PolynomialDecay"),
            *("OfTheUser", "ScheduleOfTheUser"),
        }
    )

    @pytest.fixture
    def made(self, monkeypatch):
        """The names of the classes that tf_keras's old deserializer makes objects of, a set."""
        from tf_keras.src.saving.legacy import serialization

        found = set()
        usual = serialization.class_and_config_for_serialized_keras_object

        def noting(config, *args, **kwargs):
            found_class, fields = usual(config, *args, **kwargs)
            found.add(found_class.__name__)
            return found_class, fields

        name = "class_and_config_for_serialized_keras_object"
        monkeypatch.setattr(serialization, name, noting)
        return found

    def bases(self):
        """Good configurations of every class."""
        layer = compression.quantize_annotate_layer(keras.layers.Dense(3, name="out"))
        own = compression.quantize_annotate_layer(keras.layers.Dense(3, name="out"), OfTheUser(4))
        pruned = keras.models.clone_model(
            hostile.network(),
            clone_function=lambda layer: (
                compression.prune_low_magnitude(layer)
                if layer.weights
                else type(layer).from_config(layer.get_config())
            ),
        )
        models = [
            compression.quantize_apply(hostile.network(layer)),
            compression.quantize_apply(hostile.network(own)),
            hostile.network(own),
            compression.prune_low_magnitude(
                hostile.network(), compression.PolynomialDecay(0.1, 0.5, 0, 4)
            ),
            pruned,
            compression.cluster_weights(hostile.network(), 2),
            compression.cluster_weights(of_operations(), 2),
        ]
        configs = [_config(model) for model in models]
        return [*configs, annotated(eight_bits()), annotated(self.held())]

    @staticmethod
    def held():
        return {"class_name": "OutputOnlyConfig", "config": {"quantize_config": eight_bits()}}

    @pytest.mark.parametrize("cases", [120, pytest.param(3000, marks=pytest.mark.large)])
    def test_no_other_class_is_made_and_nothing_runs(self, cases, made, payload, tmp_path):
        bases, values, rng = self.bases(), hostile.values(payload), random.Random(0)
        made.clear()
        loaded = 0
        for case in range(cases):
            config = hostile.changed(rng.choice(bases), values, rng)
            with hostile.watching() as unmarshalled:
                try:
                    model = keras.saving.deserialize_keras_object(config)
                    loaded += 1
                    if isinstance(model, keras.Model) and not hasattr(model, "wrapped"):
                        compression.quantize_apply(model)
                except Exception:
                    # Keras reports what it stumbles over in its own ways; what counts is below.
                    pass
            assert not (tmp_path / "ran").exists(), (case, config)
            assert unmarshalled == [], (case, config)
            assert made <= self.ALLOWED, (case, made - self.ALLOWED, config)
        assert 0 < loaded < cases  # Some changes are harmless, and most are not.
