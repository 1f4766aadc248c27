"""The ground floor, which every part may use: errors, argument checks, whole files."""

from kdzoo.utils.arguments import (
    as_path,
    check_name,
    check_parents,
    checked_directory,
    flag,
    integer,
    is_number,
    number,
    numeric_array,
    positive_integer,
    shown,
    text,
)
from kdzoo.utils.chatter import without_chatter
from kdzoo.utils.disks import FullDiskError, naming_full_disk
from kdzoo.utils.errors import UnknownNameError, check_choice, first_line, naming, unknown_name
from kdzoo.utils.hidden_directories import hidden_room, sweep
from kdzoo.utils.reading import (
    check_regular,
    digest_of_file,
    open_regular,
    read_bytes,
    read_object,
)
from kdzoo.utils.writing import (
    atomic_path,
    copy_file,
    one_process,
    remove_directory,
    write_bytes,
    write_text,
)

__all__ = [
    "FullDiskError",
    "UnknownNameError",
    "as_path",
    "atomic_path",
    "check_choice",
    "check_name",
    "check_parents",
    "check_regular",
    "checked_directory",
    "copy_file",
    "digest_of_file",
    "first_line",
    "flag",
    "hidden_room",
    "integer",
    "is_number",
    "naming",
    "naming_full_disk",
    "number",
    "numeric_array",
    "one_process",
    "open_regular",
    "positive_integer",
    "read_bytes",
    "read_object",
    "remove_directory",
    "shown",
    "sweep",
    "text",
    "unknown_name",
    "without_chatter",
    "write_bytes",
    "write_text",
]
