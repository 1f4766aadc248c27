"""What every test finds: Keras as a fresh process has it, the same seed, and one backend.

And a machine on which nothing was prepared: an empty home and data directory, and no network. A
test that needs more is `large`, and finds the user's own.
"""

import functools
import gc
import os
import pathlib
import socket
import sys
import tempfile

# Before TensorFlow is imported anywhere: no lines about the machine between the tests' own.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Each operation (JAX) or step (TensorFlow) is compiled for each shape it meets once, which is what
# these small tests would spend their time on: on JAX three times less where XLA does not optimize.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)
# And no process, worker or run compiles again what one has compiled before.
_COMPILED = pathlib.Path(__file__).parent.parent / ".pytest_cache" / "jax"
for _name, _value in {
    "JAX_COMPILATION_CACHE_DIR": _COMPILED,
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": 0,
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": 0,
}.items():
    os.environ.setdefault(_name, str(_value))

_EMPTY = tempfile.TemporaryDirectory(prefix="kdzoo-tests-")
_STATM = pathlib.Path("/proc/self/statm")  # Linux.
_TESTS = pathlib.Path(__file__).parent
_ON_NO_BACKEND = (
    *("benchmarks/", "tools/", "test_imports.py", "test_packaging.py", "test_public_surface.py"),
    *("test_readme.py", "data/test_catalog.py", "data/test_npy_file.py", "data/test_randomness.py"),
    *("data/test_tfds.py", "utils/test_atomic_writing.py", "utils/test_hashed_json.py"),
    *("utils/test_untrusted_files.py", "utils/test_full_disks.py", "dynamic/test_controller.py"),
    *("utils/test_arguments.py", "utils/test_onednn.py", "test_docstrings.py"),
    *("recipes/test_results.py", "compatibility/test_public_names.py", "zoo/test_pretrained.py"),
    *("compression/test_huffman_coding.py", "teacher_cache/test_record_index.py"),
    *("test_cli_errors.py", "zoo/test_registry.py", "zoo/test_files.py", "test_own_images.py"),
    *("test_hostile_configurations.py", "zoo/test_cards.py"),
    *("data/test_dataset.py", "data/test_image_folder.py", "data/test_transfer_set.py"),
    *("data/test_augmentation.py", "zoo/test_compressed_files.py"),
    *("training/checkpoints/test_damaged.py", "training/checkpoints/test_old.py"),
)
# What the user has of these, "" for none; kept for the workers, which are started without them.
_OF_THE_USER = {
    name: os.environ.setdefault(f"KDZOO_TESTS_{name}", os.environ.get(name, ""))
    for name in ("HOME", "TFDS_DATA_DIR", "XDG_CACHE_HOME")
}
# Before anything is imported that looks there, and for all processes that tests start.
os.environ["HOME"] = _EMPTY.name
os.environ["TFDS_DATA_DIR"] = str(pathlib.Path(_EMPTY.name, "data"))
os.environ.pop("XDG_CACHE_HOME", None)

# Before Keras, and so before TensorFlow, which then uses oneDNN on every processor.
import kdzoo  # noqa: E402, F401  # isort: skip
import keras  # noqa: E402
import pytest  # noqa: E402


def pytest_report_header():
    return f"keras {keras.version()}, backend: {keras.backend.backend()}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Leaves out, on another backend than TensorFlow, what needs it or computes on none."""
    if keras.backend.backend() == "tensorflow":
        return
    for item in items:
        if item.get_closest_marker("large_on_jax"):
            item.add_marker(pytest.mark.large)
    left_out = [item for item in items if _is_for_tensorflow(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not _is_for_tensorflow(item)]


def _is_for_tensorflow(item):
    """Whether a test needs TensorFlow, or is of files and pages, which no backend computes."""
    path = os.path.relpath(item.path, _TESTS)
    return bool(item.get_closest_marker("tensorflow")) or path.startswith(_ON_NO_BACKEND)


@pytest.fixture(autouse=True)
def fresh_machine(request, monkeypatch):
    """Closes the network, but to this process's own pairs; `large` tests have the user's machine.

    Processes that tests start find a proxy that is not there.
    """
    if request.node.get_closest_marker("large"):
        for name, value in _OF_THE_USER.items():
            if not value:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)
        return

    def refuse(self, address):
        raise OSError(f"The network is closed to tests that are not large: {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.fixture(autouse=True, scope="session")
def untuned_datasets():
    """Turns tf.data's tuner off, which arrays given to `fit` are batched with.

    In TensorFlow 2.21 the end of a pass waits for its next turn, for as long as the pass has taken.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    usual = tf.data.Dataset.__iter__

    @functools.wraps(usual)
    def iterate(dataset):
        options = tf.data.Options()
        options.autotune.enabled = False
        return usual(dataset.with_options(options))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.data.Dataset, "__iter__", iterate)
        yield


@pytest.fixture(autouse=True, scope="session")
def variables_outside_of_steps():
    """Lets optimizers and metrics make their variables outside of the step that is traced.

    Otherwise TensorFlow traces each step twice, the first time only to find what variables it
    makes, and never frees some 3 MB of the first trace.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf
    from keras.src.trainers.compile_utils import CompileMetrics

    def outside(build):
        @functools.wraps(build)
        def built(*args, **kwargs):
            with tf.init_scope():
                return build(*args, **kwargs)

        return built

    optimizers = {keras.optimizers.Optimizer, *_subclasses(keras.optimizers.Optimizer)}
    with pytest.MonkeyPatch.context() as patch:
        for owner in (CompileMetrics, *optimizers):
            if "build" in vars(owner):
                patch.setattr(owner, "build", outside(owner.build))
        yield


def _subclasses(owner):
    return {below for child in owner.__subclasses__() for below in (child, *_subclasses(child))}


@pytest.fixture(autouse=True, scope="module")
def frozen_objects():
    """Frees what earlier modules left, and keeps the rest of it from the collector.

    Without that the collector took an eighth of the time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def forgetting_jax(grown=[0]):  # noqa: B006
    """Lets JAX forget what it has compiled whenever that has taken another 800 MB."""
    yield
    if "jax" in sys.modules and keras.backend.backend() == "jax" and _STATM.exists():
        megabytes = int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20
        if megabytes > grown[0] + 800:
            sys.modules["jax"].clear_caches()
            gc.collect()
            grown[0] = int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


@pytest.fixture(autouse=True)
def fresh_keras():
    """Gives each test float32, empty name counters and the same seed, whatever ran before it."""
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session(free_memory=False)
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
