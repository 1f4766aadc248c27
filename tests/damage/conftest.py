"""Lets tests find the modules beside them, which their process of cases uses too."""

import pathlib
import sys

HERE = str(pathlib.Path(__file__).parent)
if HERE not in sys.path:
    sys.path.append(HERE)
