"""Gives the int8 files of the zoo float32 inputs and outputs, their bodies untouched.

python -m tools.float_io            rewrites the files, the manifest's hashes, sizes and signatures
python -m tools.float_io --check    names the models whose file has integer inputs or outputs

Files that were shipped before `kdzoo.export.to_litert(io="float32")` take and give int8. A QUANTIZE
operator before each input and a DEQUANTIZE behind each output make of them what that call makes; no
range is needed, as scale and zero point stand in the file. Run `make cards docs-tables` afterwards.
"""

import argparse
import dataclasses
import json
import pathlib
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
from ai_edge_litert import schema_py_generated as schema

from kdzoo import evaluation
from kdzoo.export import LiteRTModel
from kdzoo.export.metadata import append_metadata
from kdzoo.utils import write_bytes
from kdzoo.utils.hashed_json import digest
from kdzoo.utils.litert.label_archive import LABELS, METADATA, read_associated
from kdzoo.utils.types import PathLike
from kdzoo.zoo.manifest import File, Pretrained, read_manifest, write_manifest
from tools.publish_into_zoo_weights import signature_of

_INTEGERS = (schema.TensorType.INT8, schema.TensorType.UINT8)


def with_float_io(content: bytes) -> bytes:
    """Returns a LiteRT file with float32 in place of its quantized inputs and outputs.

    Args:
        content: The file, of one graph, with or without an archive of labels behind it. What stands
            in that stays, with the hash of the new network and `"io": "float32"`.

    Raises:
        ValueError: If the file has several graphs, or its archive is damaged.
    """
    behind = read_associated("content", content)
    end, labels = behind.end, behind.labels
    with tempfile.TemporaryDirectory() as room:
        path = pathlib.Path(room, "model.tflite")
        path.write_bytes(content)
        known: dict[str, Any] = {}
        if end < len(content):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
                if set(names) - {LABELS, METADATA}:
                    raise ValueError(f"Expected labels and metadata alone. Received: {names}")
                known = json.loads(archive.read(METADATA)) if METADATA in names else {}
        path.write_bytes(_network_with_float_io(content[:end]))
        kept = {name: known[name] for name in known if name not in ("labels", "sha256", "io")}
        append_metadata(path, labels, **kept, io="float32")
        return path.read_bytes()


def _network_with_float_io(network: bytes) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(network, 0)
    if len(model.subgraphs) != 1 or len(model.signatureDefs or []) > 1:
        raise ValueError(
            f"Expected a network of one graph. Received: {len(model.subgraphs)} graphs"
        )
    [graph] = model.subgraphs
    taken = {int(index): _float_beside(graph, index) for index in _quantized(graph, graph.inputs)}
    given = {int(index): _float_beside(graph, index) for index in _quantized(graph, graph.outputs)}
    before = [
        _operator(model, schema.BuiltinOperator.QUANTIZE, outside, inside)
        for inside, outside in taken.items()
    ]
    behind = [
        _operator(model, schema.BuiltinOperator.DEQUANTIZE, inside, outside)
        for inside, outside in given.items()
    ]
    graph.operators = [*before, *graph.operators, *behind]
    graph.inputs = [taken.get(int(index), int(index)) for index in graph.inputs]
    graph.outputs = [given.get(int(index), int(index)) for index in graph.outputs]
    for signature in model.signatureDefs or []:
        for places, moved in ((signature.inputs, taken), (signature.outputs, given)):
            for place in places:
                place.tensorIndex = moved.get(place.tensorIndex, place.tensorIndex)
    return _packed(model)


def _quantized(graph: Any, indices: Sequence[int]) -> list[int]:
    """Those of some tensors that hold integers with a scale, each once."""
    return [
        index
        for index in dict.fromkeys(indices)
        if graph.tensors[index].type in _INTEGERS and graph.tensors[index].quantization is not None
    ]


def _float_beside(graph: Any, index: int) -> int:
    """Adds a float32 tensor of the shape of another, and takes its name; returns its index."""
    inside = graph.tensors[index]
    outside = schema.TensorT()
    outside.shape, outside.shapeSignature = inside.shape, inside.shapeSignature
    outside.hasRank, outside.type = inside.hasRank, schema.TensorType.FLOAT32
    outside.name, inside.name = inside.name, inside.name + b"_quantized"
    graph.tensors.append(outside)  # Its buffer is 0, the empty one.
    return len(graph.tensors) - 1


def _operator(model: Any, code: int, taken: int, given: int) -> Any:
    """Returns an operator of one input and one output, after listing its code if it is new."""
    listed = [max(known.builtinCode, known.deprecatedBuiltinCode) for known in model.operatorCodes]
    if code not in listed:
        new = schema.OperatorCodeT()
        new.builtinCode = new.deprecatedBuiltinCode = code
        # The first versions with int8.
        new.version = 1 if code == schema.BuiltinOperator.QUANTIZE else 2
        model.operatorCodes.append(new)
        listed.append(code)
    operator = schema.OperatorT()
    operator.opcodeIndex = listed.index(code)
    operator.inputs, operator.outputs = [taken], [given]
    return operator


def _packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def rewrite(row: Pretrained, directory: pathlib.Path) -> Pretrained:
    """Writes the file of a model anew beside the old one; returns its row.

    Accuracy, agreement and calibration stay, as the answers do; so does the latency, of which the
    two operators are less than its quartiles differ by.
    """
    content = with_float_io((directory / row.files["tflite"].file).read_bytes())
    sha256 = digest(content)
    path = directory / f"{row.name.replace('/', '-')}-{sha256[:8]}.tflite"
    write_bytes(path, content)
    sizes = {".tflite": len(content), ".tflite, gzipped": evaluation.gzipped_bytes(path)}
    measured = {
        **row.measured,
        "signature": signature_of(LiteRTModel(path)),
        "bytes": {**row.measured["bytes"], **sizes},
    }
    files = {**row.files, "tflite": File(path.name, sha256, len(content))}
    return dataclasses.replace(row, files=files, measured=measured)


def with_integers(directory: PathLike) -> list[str]:
    """Returns the names of the models whose file takes or gives integers."""
    return [
        name
        for name, row in read_manifest(directory).items()
        if any(end["scale"] is not None for end in row.measured.get("signature", {}).values())
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Rewrites the files, or with `--check` returns 1 if there are any to rewrite."""
    parser = argparse.ArgumentParser(prog="python -m tools.float_io")
    parser.add_argument("--check", action="store_true", help="write nothing")
    parser.add_argument("--directory", default="zoo_weights", type=pathlib.Path)
    given = parser.parse_args(arguments)
    rows, names = read_manifest(given.directory), with_integers(given.directory)
    old = [rows[name].files["tflite"].file for name in names]
    for name in names:
        print(name)
        if not given.check:
            rows[name] = rewrite(rows[name], given.directory)
    if given.check or not names:
        return int(bool(names))
    write_manifest(list(rows.values()), given.directory)
    for file in old:
        (given.directory / file).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
