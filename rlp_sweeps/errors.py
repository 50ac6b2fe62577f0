"""Every error this package raises on purpose, in one tree.

    RlpSweepsError
    ├── ArgumentError (also ValueError)   a request that is wrong: nothing was started
    │   ├── ConfigError                   a trial's setting
    │   ├── SearchSpaceError              a search space, an axis, a recipe's name
    │   ├── DatasetError                  an unknown data set, or one too small for the request
    │   │   └── DatasetFilesError         a known data set whose files are absent
    │   ├── BackboneError                 an unknown backbone or attach point
    │   ├── ProbeError                    a probe that cannot be had, or weights not kept
    │   ├── DeviceError                   a device that torch does not see
    │   ├── ClusterError                  a Ray cluster that does not answer
    │   ├── TrackingError                 an MLflow store that cannot be had
    │   │   └── StoreAwayError            one that may answer another time
    │   ├── RunDirectoryError             a run directory that is absent, foreign or not writable
    │   ├── SchemaError                   a table with a missing or mistyped column
    │   │   └── CorruptFileError          a file of a table that is not as it was written
    │   └── QueryError                    SQL that is wrong or tries to write
    ├── CheckpointError                   a checkpoint that cannot be read
    └── RecordError (also OSError)        what a trial came to cannot be written down

A message is one sentence: the rule that must hold, the value that was got, the way out. A trial
that diverges or crashes raises nothing here: it becomes a row with its status.
"""


class RlpSweepsError(Exception):
    """Base of every error raised on purpose."""


class ArgumentError(RlpSweepsError, ValueError):
    """A request that cannot be carried out as stated; nothing was started."""


class ConfigError(ArgumentError):
    """A trial's setting is unknown, of the wrong type or out of range."""


class SearchSpaceError(ArgumentError):
    """A search space or one of its axes cannot be rendered, or no such recipe exists."""


class DatasetError(ArgumentError):
    """A data set is unknown, too small for the request, or its files are absent."""


class DatasetFilesError(DatasetError):
    """The files of a known data set are absent from the folder that was named."""


class BackboneError(ArgumentError):
    """A backbone is unknown, or cannot be built for these images."""


class ProbeError(ArgumentError):
    """A probe is unknown or cannot be fitted to these samples, or no trained weights were kept."""


class DeviceError(ArgumentError):
    """A device was asked for that torch does not see."""


class ClusterError(ArgumentError):
    """A Ray cluster does not answer at the given address."""


class TrackingError(ArgumentError):
    """An MLflow store cannot be had at the given address."""


class StoreAwayError(TrackingError):
    """An MLflow store does not answer in time, or refuses; at another time it may not."""


class RunDirectoryError(ArgumentError):
    """A run directory is absent, belongs to another sweep or version, or cannot be written."""


class SchemaError(ArgumentError):
    """A table lacks a column that the contract requires, or has one of another type."""


class CorruptFileError(SchemaError):
    """A file of a table is truncated, or has a byte that nobody has written."""


class QueryError(ArgumentError):
    """SQL that is wrong, names an unknown table, or tries to write."""


class CheckpointError(RlpSweepsError):
    """A checkpoint is truncated, or belongs to another group of trials."""


class RecordError(RlpSweepsError, OSError):
    """What a trial came to cannot be written down: no room, or a store that is away.

    The trial itself has not failed, so that it gets no row and is trained again.
    """
