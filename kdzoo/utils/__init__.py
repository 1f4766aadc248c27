"""The ground floor, which every part may use: errors, argument checks, whole files."""

from kdzoo.utils.arguments import (
    check_choice,
    check_directory,
    check_flag,
    check_fraction,
    check_increasing,
    check_integer,
    check_name,
    check_number,
    check_numeric_array,
    check_parents,
    check_path,
    check_positive_integer,
    check_text,
    check_writable,
    is_integer,
    is_number,
)
from kdzoo.utils.atomic_writing import (
    atomic_path,
    copy_file,
    remove_directory,
    write_bytes,
    write_text,
)
from kdzoo.utils.errors import UnknownNameError, first_line, naming, shown, unknown_name
from kdzoo.utils.full_disk_errors import FullDiskError, naming_full_disk
from kdzoo.utils.process_locks import hidden_directory, one_process, sweep
from kdzoo.utils.quiet_stderr import without_chatter
from kdzoo.utils.untrusted_files import (
    check_regular,
    digest_of_file,
    open_regular,
    read_bytes,
    read_object,
)

__all__ = [
    "FullDiskError",
    "UnknownNameError",
    "atomic_path",
    "check_choice",
    "check_directory",
    "check_flag",
    "check_fraction",
    "check_increasing",
    "check_integer",
    "check_name",
    "check_number",
    "check_numeric_array",
    "check_parents",
    "check_path",
    "check_positive_integer",
    "check_regular",
    "check_text",
    "check_writable",
    "copy_file",
    "digest_of_file",
    "first_line",
    "hidden_directory",
    "is_integer",
    "is_number",
    "naming",
    "naming_full_disk",
    "one_process",
    "open_regular",
    "read_bytes",
    "read_object",
    "remove_directory",
    "shown",
    "sweep",
    "unknown_name",
    "without_chatter",
    "write_bytes",
    "write_text",
]
