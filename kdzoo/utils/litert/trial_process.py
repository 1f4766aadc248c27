"""Runs a LiteRT file from standard input once, in a process that may die of it.

The interpreter trusts what it reads: of a thousand damaged files about ten end it by a signal or
make it reserve gigabytes. `safe_interpreter.py` runs this file as a script first; it imports
nothing of kdzoo, so that it starts in 0.2 s.
"""

import os
import re
import sys
from types import ModuleType
from typing import Any

import numpy as np

try:
    import resource
except ImportError:  # Windows.
    resource = None  # type: ignore[assignment]

REFUSED = 3
"""The exit status if the interpreter said what is wrong, which is then the standard output."""
MEMORY = 4
"""The exit status if it may be that memory did not suffice; what was said is the output, too."""

_LARGEST = float("inf")
# Where outputs are not finite: what a weight of a trained network never reaches.
_LARGEST_OF_NOT_FINITE = 1e18


def litert(with_schema: bool = False) -> tuple[Any, ModuleType | None]:
    """Returns the class `Interpreter` of LiteRT, and its module that reads flatbuffers.

    Args:
        with_schema: Whether the module is wanted; it is None otherwise, and in versions without it.
    """
    from ai_edge_litert import interpreter

    if not with_schema:
        return interpreter.Interpreter, None
    try:
        from ai_edge_litert import schema_py_generated
    except ImportError:
        return interpreter.Interpreter, None
    return interpreter.Interpreter, schema_py_generated


def _limit(allowed, size):
    """Lets the process reserve so many bytes more than it has, and compute for 15 s and more.

    Args:
        allowed: The bytes.
        size: Those of the network; a second is added for each MB.
    """
    if resource is None:
        return
    try:
        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return
    seconds = 15 + (size >> 20)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (now + allowed, now + allowed))


def _as_file(content):
    """Where the interpreter finds the network: in a mapped file, beyond whose end it may not read.

    Beyond the end of bytes it would, unnoticed as long as there is something.
    """
    if not hasattr(os, "memfd_create"):  # Not Linux.
        return {"model_content": content}
    descriptor = os.memfd_create("network")
    with os.fdopen(descriptor, "wb", closefd=False) as file:
        file.write(content)
    return {"model_path": f"/proc/self/fd/{descriptor}"}


def _run(content, needs_finite):
    random = np.random.default_rng(0)
    interpreter = litert()[0](**_as_file(content), num_threads=1)
    interpreter.allocate_tensors()
    signatures = interpreter.get_signature_list()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], _values(detail, random))
    interpreter.invoke()
    for number, name in enumerate(signatures):
        runner = interpreter.get_signature_runner(name)
        details = runner.get_input_details().items()
        runner.get_output_details()
        if number:  # The first is what has just run.
            runner(**{key: _values(detail, random) for key, detail in details})
    if needs_finite:
        details = interpreter.get_output_details()
        outputs = [interpreter.get_tensor(detail["index"]) for detail in details]
        are_finite = all(
            np.isfinite(output).all() for output in outputs if output.dtype.kind == "f"
        )
        _check_weights(content, _LARGEST if are_finite else _LARGEST_OF_NOT_FINITE)


def _values(detail, random):
    """Something that an input takes."""
    values = np.zeros(detail["shape"], detail["dtype"])
    if values.dtype.kind == "f":
        values = random.random(values.shape, "float32").astype(values.dtype)
    return values


def _check_weights(content, largest):
    """Raises if the network, which the interpreter took, has weights that are damaged.

    Its outputs need not be finite: the logarithm of a negative number is right to be NaN. A
    constant may have infinity alone, or beside zeros: as padding, or as a mask.

    Args:
        content: The bytes of the network.
        largest: What weights may reach; the lowest number of float32 is a mask's.
    """
    _, schema = litert(with_schema=True)
    if schema is None:
        return
    types = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.FLOAT16: np.float16}
    model = schema.Model.GetRootAs(content, 0)
    for graph in map(model.Subgraphs, range(model.SubgraphsLength())):
        for tensor in map(graph.Tensors, range(graph.TensorsLength())):
            buffer = model.Buffers(tensor.Buffer())
            if tensor.Type() not in types or not buffer.DataLength():
                continue
            values = buffer.DataAsNumpy().view(types[tensor.Type()])
            finite = values[np.isfinite(values)]
            sizes = np.abs(finite)
            if ((sizes > largest) & (sizes < np.finfo("float32").max)).any():
                raise ValueError("its weights are so large that its outputs are not finite")
            if np.isnan(values).any() or (len(finite) < len(values) and finite.any()):
                raise ValueError("its weights are not finite")


def _main():
    litert()  # Loaded before memory is limited.
    content = sys.stdin.buffer.read()
    _limit(int(sys.argv[1]), len(content))
    try:
        _run(content, needs_finite=sys.argv[2] == "finite")
    except (Exception, MemoryError) as error:
        lines = str(error).strip().splitlines()
        said = lines[0] if lines else type(error).__name__
        print(said)
        # LiteRT says of an allocation that failed at most which step did.
        is_memory = isinstance(error, MemoryError) or re.search("memory|alloc|reshape", said, re.I)
        sys.exit(MEMORY if is_memory else REFUSED)


if __name__ == "__main__":
    _main()
