"""`python -m tools.docs_tables`: writes the tables into the pages."""

import sys

from tools.docs_tables.pages import main

sys.exit(main())
