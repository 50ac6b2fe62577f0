"""``python -m rlp_sweeps`` is the command ``rlp-sweeps``."""

import sys

from rlp_sweeps.cli import main

sys.exit(main())
