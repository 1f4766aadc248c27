"""`python -m kdzoo`: the command line, as by `kdzoo`, which starts faster."""

import sys

from kdzoo.cli import main

sys.exit(main())
