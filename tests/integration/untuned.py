"""A sweep's groups trained one after the other in this process: what Ray must come to as well."""

import torch

from rlp_sweeps.orchestration.planner import SweepPlan
from rlp_sweeps.orchestration.trainable import GroupRun, SweepJob
from rlp_sweeps.tracking.run_directory import RunDirectory, build_manifest


def train_here(plan: SweepPlan, output, *, num_groups=None):
    """Train the first groups of a plan into a new directory, all where no number is given."""
    manifest = build_manifest(
        plan_id=plan.plan_id,
        sweep_name=plan.name,
        space=plan.space.to_dict(),
        configs=plan.trials,
        settings=plan.settings(),
    )
    directory = RunDirectory.create(output, manifest)
    torch.set_num_threads(1)
    job = SweepJob(
        directory=directory,
        groups={},
        data_dir=plan.data_dir,
        device="cpu",
        engine=plan.engine,
        num_threads=1,
        checkpoint_interval_s=3600.0,
    )
    for group in plan.groups[:num_groups]:
        GroupRun(job, group, report=lambda scalars: None).run()
    return directory
