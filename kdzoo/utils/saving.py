"""`.keras` files, written whole or not at all."""

import io

from kdzoo.utils.writing import write_bytes


def save_model(model, path):
    """Writes a model as a `.keras` file, which is made in memory.

    Keras's own `model.save` leaves a part of a file on a full disk.

    Args:
        model: The `keras.Model`.
        path: Where the file goes, whole or not at all.

    Raises:
        ValueError: If it is no path, or there is a file where one of its directories belongs.
        FullDiskError: If the disk is full or a limit is reached; the error names path and bytes.
    """
    from keras.src.saving import saving_lib

    buffer = io.BytesIO()
    saving_lib.save_model(model, buffer)
    write_bytes(path, buffer.getbuffer())
