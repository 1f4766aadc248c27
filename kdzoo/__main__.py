"""`python -m kdzoo`: the command line."""

import sys

from kdzoo.cli import main

sys.exit(main())
