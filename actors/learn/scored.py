"""Pairs that a bundle has scored, from Parquet: a logit and a cluster for each, and what people settled.

Promises columns that `guarantee` and `threshold` can take: finite logits, clusters that are named, labels that are
true or false; anything else is refused in one line that names the file and what would be right.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from numpy.typing import NDArray

from actors.errors import DataRefused


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Columns of equal length, at least one row."""

    logit: NDArray[np.float64]
    """Severity, float64 `[n]`, finite."""
    cluster: NDArray[Any]
    """Names or numbers of clusters, `[n]`."""
    severe: NDArray[np.bool_] | None
    """What people settled, bool `[n]`; None for traffic."""


def read_scored(path: Path, *, labelled: bool) -> Scored:
    """Read the columns `logit` and `cluster`, and `severe` too where there are labels.

    Args:
        path: A Parquet file; further columns are left alone.
        labelled: Whether `severe` is needed.

    Returns:
        The columns.

    Raises:
        DataRefused: The file cannot be read, a column is missing or of another kind, or a value is.
    """
    wanted = ["logit", "cluster"] + (["severe"] if labelled else [])
    try:
        with pa.parquet.ParquetFile(path) as file:
            missing = [name for name in wanted if name not in file.schema_arrow.names]
            if missing:
                raise DataRefused(
                    str(path), f"there is no column {missing[0]!r}; needed are: {', '.join(wanted)}"
                )
            table = file.read(columns=wanted)
    except (OSError, pa.ArrowException) as error:
        problem = str(error).partition("\n")[0]
        raise DataRefused(str(path), f"cannot be read as Parquet ({problem})") from error
    if not table.num_rows:
        raise DataRefused(str(path), "there is no row")
    for name in wanted:
        column = table[name]
        if column.null_count:
            raise DataRefused(str(path), f"{name}: {column.null_count} rows have no value")
        if not _fits(name, column.type):
            raise DataRefused(str(path), f"{name}: values are {column.type}, and should be {_KINDS[name]}")
    logit = table["logit"].to_numpy().astype(np.float64)
    if not np.isfinite(logit).all():
        raise DataRefused(str(path), f"logit: row {int(np.argmin(np.isfinite(logit)))} is not finite")
    severe = table["severe"].to_numpy() if labelled else None
    if severe is not None and not np.isin(severe, (0, 1)).all():
        raise DataRefused(str(path), "severe: values should be true and false, or 1 and 0")
    return Scored(logit, table["cluster"].to_numpy(), None if severe is None else severe.astype(np.bool_))


_KINDS = {"logit": "floats", "cluster": "integers or text", "severe": "true and false, or 1 and 0"}


def _fits(name: str, kind: pa.DataType) -> bool:
    match name:
        case "logit":
            return bool(pa.types.is_floating(kind))
        case "severe":
            return bool(pa.types.is_boolean(kind) or pa.types.is_integer(kind))
        case _:
            return bool(
                pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)
            )
