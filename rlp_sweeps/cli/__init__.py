"""The command line, the only place where all parts meet.

- ``app``: the commands by name, exit status, one sentence for what went wrong;
- ``sweeping``: spaces, plan, run, resume, status;
- ``following``, ``extending``, ``cancelling``: follow-up, extend, cancel;
- ``probing``: probe;
- ``housekeeping``, ``run_list``: list, clean, doctor;
- ``reading``: analyze, query, sync, ui;
- ``habits``, ``output``, ``ending``: ``--quiet`` and ``--json``, which commands share;
- ``completion``: what the Tab key offers;
- ``options``: options that commands share, and the requests made from them;
- ``option_groups``: options that commands take together, as one value;
- ``printing``: tables on stdout.

Heavy parts (Ray, torch, MLflow, the analysis) are imported inside the commands that need them, so
that ``rlp-sweeps --help`` answers at once. Results go to stdout, progress and errors to stderr.
"""

from rlp_sweeps.cli.app import app, main

__all__ = ["app", "main"]
