"""``python -m askd`` is ``askd``."""

from askd.cli import main

raise SystemExit(main())
