"""What a column of a table is; ``schema.py`` declares them."""

from dataclasses import dataclass, field
from typing import Literal

Dtype = Literal["str", "f64", "i64", "bool"]
Role = Literal["identity", "config", "outcome", "diagnostic", "provenance"]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of one table.

    Attributes:
        name: As written in Parquet, in code and in MLflow.
        dtype: ``str``, ``f64``, ``i64`` or ``bool``.
        unit: Unit and range; empty for names and texts.
        role: What kind of statement the column makes.
        meaning: One sentence.
        required: The analysis cannot do without it.
        nullable: A required column may hold nulls for a completed trial.
        default: What a setting was in rows that were written before it had a column; None where
            nothing was.
    """

    name: str
    dtype: Dtype
    unit: str
    role: Role
    meaning: str
    required: bool = field(default=False, kw_only=True)
    nullable: bool = field(default=False, kw_only=True)
    default: str | int | float | None = field(default=None, kw_only=True)
