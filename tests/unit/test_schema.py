from pathlib import Path
from typing import Any, get_args

import pytest

from rlp_sweeps.attach_points import PLACE_DEFAULTS
from rlp_sweeps.column import Column
from rlp_sweeps.config import FIELD_TYPES, MATCHED_SETTINGS, TrialConfig
from rlp_sweeps.data_settings import DATA_DEFAULTS
from rlp_sweeps.schema import (
    CONFIG_COLUMNS,
    CONFIG_PREFIX,
    METRICS,
    STATUSES,
    TABLES,
    to_markdown,
)

ROOT = Path(__file__).parents[2]
DTYPES = {str: "str", float: "f64", int: "i64", bool: "bool"}
ALL_COLUMNS = [(table, column) for table, columns in TABLES.items() for column in columns]


def dtype_of(hint: Any) -> str:
    kinds = [kind for kind in get_args(hint) or (hint,) if kind is not type(None)]
    return DTYPES[kinds[0]]


def test_config_columns_are_the_settings_of_a_trial_with_their_types() -> None:
    columns = {column.name: column.dtype for column in CONFIG_COLUMNS}

    assert columns == {name: dtype_of(hint) for name, hint in FIELD_TYPES.items()}


@pytest.mark.parametrize("table", TABLES)
def test_no_two_columns_of_a_table_are_alike(table: str) -> None:
    names = [column.name for column in TABLES[table]]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize(("table", "column"), ALL_COLUMNS, ids=lambda x: getattr(x, "name", x))
def test_every_column_says_what_it_means(table: str, column: Column) -> None:
    assert column.meaning.endswith(".")
    assert column.unit or column.dtype != "i64"
    assert not column.nullable or column.required
    assert not column.name.startswith(CONFIG_PREFIX), table


@pytest.mark.parametrize("name", sorted({column.name for _, column in ALL_COLUMNS}))
def test_a_column_has_one_dtype_in_all_tables(name: str) -> None:
    assert len({column.dtype for _, column in ALL_COLUMNS if column.name == name}) == 1


def test_only_settings_of_a_trial_have_the_role_config() -> None:
    config = {column.name for column in TABLES["trials"] if column.role == "config"}

    assert config == set(FIELD_TYPES) - set(MATCHED_SETTINGS.values())  # tells no cells apart


def test_a_setting_with_a_default_is_told_apart_by_no_older_row() -> None:
    defaults = {c.name: c.default for c in TABLES["trials"] if c.default is not None}
    trial = TrialConfig(arm="control", lr=0.1, rlp_lambda=0.0, seed=0)

    stated = {k: v for k, v in (DATA_DEFAULTS | PLACE_DEFAULTS).items() if v is not None}
    assert stated.items() <= defaults.items()
    assert defaults == {name: getattr(trial, name) for name in defaults}


def test_the_columns_other_programs_must_write_are_the_contract() -> None:
    required = {c.name: c.dtype for c in TABLES["trials"] if c.required}

    assert required == {
        "trial_id": "str",
        "status": "str",
        "arm": "str",
        "lr": "f64",
        "rlp_lambda": "f64",
        "label_smoothing": "f64",
        "seed": "i64",
        "num_random_labels": "i64",
        "train_accuracy": "f64",
        "val_accuracy": "f64",
        "test_accuracy": "f64",
        "test_loss": "f64",
        "random_label_accuracy": "f64",
        "lr_multiplier": "f64",
    }


def test_every_metric_stands_in_trials_and_epochs() -> None:
    for table in ("trials", "epochs"):
        assert set(METRICS) <= {column.name for column in TABLES[table]}


def test_the_statuses_are_four() -> None:
    assert STATUSES == ("completed", "diverged", "stopped", "failed")


def test_the_page_of_results_is_printed_from_the_schema() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")

    assert page == to_markdown(), "run `make docs`"
