"""From a search space to finished rows: the only part that knows Ray and Optuna.

- ``planner``: which trials, in which groups; ``estimates``: what they will cost;
- ``sweep``: runs and resumes a plan; ``status``: how far one has come;
- ``progress``: what goes in (options), what comes out (outcome), who is told meanwhile;
- ``trainable``: the function that Ray starts; ``resources``: device and cluster;
- ``search``, ``points``: Optuna through Tune, rebuilt from finished rows; ``halving``: among the
  points of a group; ``early_stopping``: among points of a single trial.

``planner``, ``progress``, ``status`` and ``estimates`` load neither Ray nor Optuna.
"""
