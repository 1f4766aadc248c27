"""What the precision `"auto"` is: bfloat16 where the machine gains from it, float32 elsewhere."""

import pathlib
from typing import Any

import keras

from kdzoo.experiments.run_json_files import read_precisions, write_json
from kdzoo.experiments.training_settings import AUTO, FLOAT32, HALF
from kdzoo.utils import heavy_libraries
from kdzoo.utils.processor import x86_features, x86_vendor

FILE = "precisions.json"  # Beside the checkpoints of a stage that is not finished.
# Without one of these bfloat16 goes through float32, and is far slower than float32 itself.
_AMX = "amx_bf16"
_AVX512 = "avx512_bf16"
# Without AMX, as on many virtual machines, a step of a FitNet takes half as long again in bfloat16
# on Intel's processors (docs/results/speed.md).
_INTEL = "GenuineIntel"
_AMPERE = 8  # The first generation of NVIDIA's that computes in bfloat16.


def settled(setting: str, precision: str, directory: pathlib.Path, known: str | None = None) -> str:
    """Returns the dtype policy that a stage computes in.

    What `"auto"` is is decided once for a stage and a seed: a training that is gone on with on
    another machine stays in the precision that it began in.

    Args:
        setting: Name of the setting, `"precision"` or `"teacher_precision"`.
        precision: Its value.
        directory: The directory of the stage.
        known: What `"auto"` has to be, where that is known: that of a record that is there.
    """
    if precision != AUTO:
        return precision
    found = choices(directory)
    if setting not in found:
        # Before there was "auto", what says "auto" now said bfloat16, and wrote no choice.
        is_of_before = any(directory.rglob("epoch-*")) and not found
        found[setting] = known or (HALF if is_of_before or computes_bfloat16() else FLOAT32)
        write_json(directory / FILE, found)
    return found[setting]


def choices(directory: pathlib.Path) -> dict[str, str]:
    """Returns setting -> dtype policy, of those of a stage that were `"auto"`."""
    path = directory / FILE
    return read_precisions(path) if path.exists() else {}


def forget(directory: pathlib.Path) -> None:
    """Removes what is on disk, when the stage is finished and its row says it."""
    (directory / FILE).unlink(missing_ok=True)


def computes_bfloat16() -> bool:
    """Whether what Keras computes on, accelerators or else the processor, gains from bfloat16."""
    if keras.backend.backend() == "jax":
        devices = [one for one in heavy_libraries.jax().devices() if one.platform != "cpu"]
        found = [getattr(device, "compute_capability", None) for device in devices]
    else:
        config = heavy_libraries.tensorflow().config
        details = map(config.experimental.get_device_details, config.get_visible_devices("GPU"))
        found = [detail.get("compute_capability") for detail in details]
    if found:
        return all(map(_is_recent, found))
    features = x86_features()
    return _AMX in features or (_AVX512 in features and x86_vendor() != _INTEL)


def _is_recent(capability: Any) -> bool:
    """Whether an accelerator computes in bfloat16, by its CUDA capability; one without does."""
    if isinstance(capability, str):  # JAX's: "8.0".
        capability = capability.split(".")
    is_cuda = bool(capability) and str(capability[0]).isdigit()
    return not is_cuda or int(capability[0]) >= _AMPERE
