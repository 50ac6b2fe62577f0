"""What a sweep leaves behind: Parquet, which is the truth, and MLflow, which is a view of it.

- ``run_directory``: one folder a sweep, with its manifest, part files and checkpoints;
- ``parquet``: rows to typed tables and back;
- ``manifest``: what was planned, with which code, on which machine;
- ``mlflow_tracker``: experiment, parent run and one run a trial; `sync` rebuilds them.

MLflow is imported when a store is opened, so that importing these modules stays light.
"""
