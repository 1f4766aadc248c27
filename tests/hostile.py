"""What attackers write into configurations: objects that a deserializer makes, code that runs."""

import base64
import contextlib
import copy
import json
import marshal
import sys

import keras

_watched = []  # Of payloads; an audit hook cannot be taken away again.


def _hook(event, arguments):
    if event == "marshal.loads" and _watched:
        (content,) = arguments
        _watched[-1].append(bytes(content))


sys.addaudithook(_hook)


def code_that_writes(path):
    """Marshalled code of a function that leaves a file when it runs."""
    function = eval(f"lambda x: (open({str(path)!r}, 'w').close(), x)[1]")
    return marshal.dumps(function.__code__)


@contextlib.contextmanager
def watching():
    """Context in which the code objects that are unmarshalled are kept, in the list it yields."""
    _watched.append([])
    try:
        yield _watched[-1]
    finally:
        _watched.pop()


def runs(path):
    """A Sequential of tf_keras's old format with a Lambda, which runs when it is built."""
    code = base64.b64encode(code_that_writes(path)).decode()
    function = {
        "name": "runs",
        "trainable": True,
        "dtype": "float32",
        "function": [code, None, None],
        "function_type": "lambda",
        "module": "builtins",
        "output_shape": None,
        "output_shape_type": "raw",
        "output_shape_module": None,
        "arguments": {},
    }
    config = {
        "name": "inner",
        "layers": [{"class_name": "Lambda", "config": function}],
        "build_input_shape": [None, 4],
    }
    return {"class_name": "Sequential", "config": config}


def wrappers_of(payload):
    """TF-MOT's classes that hand a `layer` on to tf_keras, around a payload."""
    fields = {"name": "outer", "trainable": True, "dtype": "float32", "layer": payload}
    return [
        {"class_name": name, "config": {**fields, "quantize_config": None}}
        for name in ("QuantizeAnnotate", "QuantizeWrapper", "QuantizeWrapperV2")
    ]


def passive(payload):
    """An object within a configuration, as tf_keras's old format marks it."""
    return {**payload, "__passive_serialization__": True}


def network(*layers):
    """A small functional model."""
    inputs = keras.Input((4,), name="in")
    x = inputs
    for layer in layers or [keras.layers.Dense(3, name="out")]:
        x = layer(x)
    return keras.Model(inputs, x, name="net")


def values(payload):
    """What a place in a configuration is changed to, a list.

    Args:
        payload: What `runs` returned.
    """
    inside = [passive(part) for part in wrappers_of(payload)]
    code = payload["config"]["layers"][0]["config"]
    lambda_of_keras = {
        "class_name": "Lambda",
        "module": "keras.layers",
        "registered_name": None,
        "config": code,
    }
    value = {"code": code["function"][0], "defaults": None, "closure": None}
    lambda_of_keras_3 = {"class_name": "__lambda__", "config": value}
    names = ("Lambda", "TFOpLambda", "function", "__lambda__", "Sequential", "Functional")
    names += ("QuantizeWrapperV2", "QuantizeAnnotate", "PruneLowMagnitude", "StringLookup")
    return [
        payload,
        *inside,
        *wrappers_of(payload),
        [inside[0]],
        {"a": inside[0]},
        lambda_of_keras,
        passive(lambda_of_keras),
        lambda_of_keras_3,
        {**lambda_of_keras, "config": {**code, "function": lambda_of_keras_3}},
        {"class_name": "function", "module": "os", "config": "system", "registered_name": None},
        {"class_name": "Popen", "module": "subprocess", "config": {"args": "true"}},
        *({"class_name": name, "config": payload["config"]} for name in names),
        *({"class_name": name, "module": "tf_keras.layers", "config": {}} for name in names),
        *names,
        *("__class__", "__init__", "add_loss", "kernel", "_layers", "save", "get_config"),
        *(None, -1, 10**30, float("nan"), "", "x" * 10_000, [], {}, [[[[[[1]]]]]], True),
    ]


def changed(base, values, rng):
    """A copy of a configuration with one or two places changed.

    Args:
        base: A configuration of JSON values.
        values: What places are changed to.
        rng: A `random.Random`.
    """
    config = json.loads(json.dumps(base))
    for _ in range(rng.choice((1, 1, 2))):
        places = [
            (part, key)
            for part in _containers(config)
            for key in (part if isinstance(part, dict) else range(len(part)))
        ]
        part, key = rng.choice(places)
        value = copy.deepcopy(rng.choice(values))
        kind = rng.random() if isinstance(part, dict) else 1.0
        if kind < 0.2:
            part[rng.choice(["quantize_config", "layer", "extra", "class_name"])] = value
        elif kind < 0.3:
            del part[key]
        else:
            part[key] = value
    return json.loads(json.dumps(config))


def _containers(config):
    """Yields all dictionaries and lists in a configuration that are not empty."""
    if isinstance(config, dict | list) and config:
        yield config
        for part in config.values() if isinstance(config, dict) else config:
            yield from _containers(part)
