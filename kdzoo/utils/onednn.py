"""oneDNN, which TensorFlow leaves off on processors where it would take half of the time away.

TensorFlow decides when it is imported. On Linux it turns oneDNN on where the processor has
instructions for neural networks, and leaves it off on other x86 processors: AMD's before Zen 4 and
Intel's before Cascade Lake. The convolutions of oneDNN are about twice as fast there, too.
"""

import contextlib
import os
import re
import sys
import warnings
from collections.abc import Iterator

from kdzoo.utils.processor import x86_features
from kdzoo.utils.quiet_stderr import without_chatter

VARIABLE = "TF_ENABLE_ONEDNN_OPTS"
# Where there is one of them, TensorFlow turns oneDNN on by itself.
_TURN_IT_ON = {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}
_LINE = re.compile(rb".*oneDNN custom operations are on")
_was_told = False


def is_left_off() -> bool:
    """Whether TensorFlow leaves oneDNN off on this processor unless it is told otherwise."""
    features = x86_features()
    return bool(features) and not features & _TURN_IT_ON


@contextlib.contextmanager
def turned_on() -> Iterator[None]:
    """Context in which a TensorFlow that is imported turns oneDNN on, where it would leave it off.

    What the user has set stays, and where TensorFlow is imported already, nothing is done. The line
    in which TensorFlow says that oneDNN is on is held back.
    """
    if VARIABLE in os.environ or "tensorflow" in sys.modules or not is_left_off():
        yield
        return
    os.environ[VARIABLE] = "1"
    with without_chatter(_LINE):
        yield


def warn_if_off() -> None:
    """Warns, once in a process, if TensorFlow was imported without oneDNN on such a processor.

    Warns:
        UserWarning: Which says what to do.
    """
    global _was_told
    tensorflow = sys.modules.get("tensorflow")
    if _was_told or tensorflow is None or VARIABLE in os.environ or not is_left_off():
        return
    _was_told = True
    if tensorflow.config.get_visible_devices("GPU"):
        return
    warnings.warn(
        "TensorFlow was imported before kdzoo, and computes without oneDNN on this processor, "
        "which takes up to twice the time. Import kdzoo first, or set TF_ENABLE_ONEDNN_OPTS=1 in "
        "the environment (0 leaves it off, and this warning away).",
        stacklevel=3,
    )
