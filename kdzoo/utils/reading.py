"""Reading of files that may be damaged, or come from strangers."""

import hashlib
import json


def digest_of_file(path):
    """Returns the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_object(path, what):
    """Returns the content of a JSON file, a dictionary.

    Args:
        path: The file, a `pathlib.Path`.
        what: What it is expected to be, e.g. `"a manifest of pretrained models"`.

    Raises:
        ValueError: If it is none; the error says what it is.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        reason = f"a JSON file of a {type(content).__name__}, not of fields with names"
    except UnicodeDecodeError:
        reason = "a file that is no text"
    except ValueError as error:
        reason = f"a file that is empty, cut off or no JSON ({error})"
    except RecursionError:
        reason = "lists within lists without end"
    else:
        if isinstance(content, dict):
            return content
    raise ValueError(f"Expected {path} to be {what}. Received: {reason}")
