"""Class names inside a LiteRT file: `labels.txt` and `metadata.json`, zipped onto the flatbuffer.

A LiteRT file may be followed by a zip archive of associated files. An interpreter reads the
flatbuffer at the front, a zip reader the archive at the end, and Android's and other readers find
`labels.txt` there. The entries are stored, not deflated, because readers map them into memory.

Reference: https://ai.google.dev/edge/litert/models/metadata, "Pack the associated files".
"""

import hashlib
import json
import pathlib
import zipfile
from collections.abc import Collection, Sequence
from typing import Any

from kdzoo.utils import shown
from kdzoo.utils.litert.label_archive import LABELS, METADATA


def check_labels(labels: Sequence[str] | None, classes: Collection[int]) -> None:
    """Raises unless `labels` has one name for every class of one of the outputs.

    Args:
        labels: List of class names; None for no names.
        classes: The number of classes of each output of the model.

    Raises:
        ValueError: If there are more or fewer labels than classes, or one cannot be a line of text.
    """
    if labels is None:
        return
    is_listed = hasattr(labels, "__iter__") and not isinstance(labels, str | bytes | dict)
    if not is_listed or not all(isinstance(label, str) for label in labels):
        raise ValueError(
            f"Expected labels to be a list of class names. Received: labels={shown(labels)}"
        )
    if any(label.splitlines() != [label] for label in labels):
        raise ValueError(
            "Expected each label to be one line of text that is not empty. "
            f"Received: labels={labels}"
        )
    if len(labels) == 2 and set(classes) == {1}:
        raise ValueError(
            "Expected one label for one unit, which is binary. Received: "
            f"labels={list(labels)}: pass labels=[{labels[1]!r}], what a yes means, or end the "
            "model in two units and a softmax."
        )
    if len(labels) not in classes:
        raise ValueError(
            f"Expected one label for each of the model's {' or '.join(map(str, classes))} outputs. "
            f"Received: {len(labels)} labels."
        )


def append_metadata(path: pathlib.Path, labels: Sequence[str] | None, **properties: Any) -> None:
    """Zips `metadata.json` and, where there are labels, `labels.txt` onto a LiteRT file.

    Equal arguments give equal bytes: the entries carry no date. `metadata.json` holds the SHA-256
    of the network, so that damage is found when the file is opened.

    Args:
        path: A LiteRT file, which is changed in place.
        labels: List of class names, in the order of the model's outputs; None for no names.
        **properties: JSON values that `metadata.json` holds beside the labels.
    """
    labels = None if labels is None else list(labels)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    properties = {"labels": labels, **properties, "sha256": sha256}
    files = {METADATA: json.dumps(properties, indent=2, ensure_ascii=False)}
    if labels is not None:
        files[LABELS] = "".join(f"{label}\n" for label in labels)
    with zipfile.ZipFile(path, mode="a", compression=zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), text)
