"""The ground floor, which every part may use: errors, argument checks, whole files."""

from kdzoo.utils.arguments import as_path, check_parents, checked_directory, positive_integer
from kdzoo.utils.chatter import without_chatter
from kdzoo.utils.errors import UnknownNameError, first_line, unknown_name
from kdzoo.utils.reading import (
    check_regular,
    digest_of_file,
    open_regular,
    read_bytes,
    read_object,
)
from kdzoo.utils.states import finalize_states
from kdzoo.utils.writing import atomic_path, one_process

__all__ = [
    "UnknownNameError",
    "as_path",
    "atomic_path",
    "check_parents",
    "check_regular",
    "checked_directory",
    "digest_of_file",
    "finalize_states",
    "first_line",
    "one_process",
    "open_regular",
    "positive_integer",
    "read_bytes",
    "read_object",
    "unknown_name",
    "without_chatter",
]
