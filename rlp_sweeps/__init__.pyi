"""Types of the names that ``__init__.py`` imports where they are first used."""

from rlp_sweeps.api import RunSettings as RunSettings
from rlp_sweeps.api import SweepResult as SweepResult
from rlp_sweeps.api import analyze as analyze
from rlp_sweeps.api import cancel_sweep as cancel_sweep
from rlp_sweeps.api import describe_tables as describe_tables
from rlp_sweeps.api import extend_sweep as extend_sweep
from rlp_sweeps.api import follow_up as follow_up
from rlp_sweeps.api import load_epochs as load_epochs
from rlp_sweeps.api import load_log as load_log
from rlp_sweeps.api import load_model as load_model
from rlp_sweeps.api import load_trials as load_trials
from rlp_sweeps.api import query as query
from rlp_sweeps.api import resume_sweep as resume_sweep
from rlp_sweeps.api import run_sweep as run_sweep
from rlp_sweeps.api import sweep_status as sweep_status
from rlp_sweeps.spaces import ChoiceAxis as ChoiceAxis
from rlp_sweeps.spaces import LinearAxis as LinearAxis
from rlp_sweeps.spaces import LogAxis as LogAxis
from rlp_sweeps.spaces import Search as Search
from rlp_sweeps.spaces import SearchSpace as SearchSpace

__version__: str
