"""What `to_litert` says of the file that it wrote."""

import dataclasses
import pathlib
from collections.abc import Sequence

from kdzoo.export.agreement import OutputAgreement
from kdzoo.export.convert import FileIo, Quantize
from kdzoo.export.tensors import TensorInfo


@dataclasses.dataclass(frozen=True)
class ExportReport:
    """What `to_litert` wrote, and how closely the file agrees with Keras.

    Attributes:
        path: The file.
        bytes: Its size on disk.
        quantize: None for float32, `"float16"`, `"dynamic"` or `"int8"`.
        samples: The number of samples on which Keras and the file were compared.
        verified_on: `"representative_data"`, or `"random samples"` uniform in [0, 1).
        max_abs_difference: Largest absolute difference of any output from Keras, over all samples.
        argmax_agreement: The smallest `agreement` of the outputs of classes and of binary labels in
            `outputs_verified`, and the `argmax_agreement` of those that nothing is known of; or of
            all where there is no such output. Of classes it is the fraction of samples, in [0, 1],
            with the same largest output as Keras.
        inputs: The file's inputs, a tuple of `TensorInfo`; for int8 with the range of values that
            it tells apart.
        outputs: The file's outputs, a tuple of `TensorInfo`, sorted by name.
        layers_in_float: Names of the layers whose kernels stay in float32 because a
            quantization-aware model was annotated in part only; empty for all other models.
        outputs_verified: An `OutputAgreement` for each output: what it was taken for, and how
            closely the file agrees.
        calibration_samples: The number of samples that calibrated int8, 0 without calibration.
            They are others than those that verified, unless there were too few for two parts.
        io: The type of the file's inputs and outputs: `"float32"`, `"uint8"` or `"int8"`. Those
            that are integers in Keras, such as token ids, are as they are there.
        sparsity: The fraction of zeros among all kernels in the file, in [0, 1]; in int8, small
            weights are rounded to zero, too. None in versions of LiteRT that cannot read it.
    """

    path: pathlib.Path
    bytes: int
    quantize: Quantize | None
    samples: int
    verified_on: str
    max_abs_difference: float
    argmax_agreement: float
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    layers_in_float: tuple[str, ...] = ()
    outputs_verified: tuple[OutputAgreement, ...] = ()
    calibration_samples: int = 0
    io: FileIo = dataclasses.field(default="float32", kw_only=True)
    sparsity: float | None = dataclasses.field(default=None, kw_only=True)


def argmax_agreement(found: Sequence[OutputAgreement]) -> float:
    """Returns the smallest agreement of classes and binary labels, or of all without such outputs.

    Args:
        found: How closely each output agrees with Keras.
    """
    agreements = [
        output.agreement if output.argmax_agreement is None else output.argmax_agreement
        for output in found
        if output.output_type != "numbers" or output.argmax_agreement is not None
    ]
    return min(agreements or [output.agreement for output in found])
