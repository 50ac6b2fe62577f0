"""Python imports this file as it starts, where its folder is on ``PYTHONPATH``."""

import os

if "RLP_FAULTS_PLANTS" in os.environ:
    from benchmarks.faults import plants

    plants.install()
