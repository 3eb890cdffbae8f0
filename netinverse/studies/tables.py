"""Tables in Parquet files, with a JSON text beside the columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

KEY = b"netinverse"


def write_table(table: pd.DataFrame, path: Path, meta: Mapping[str, Any] | None = None) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    found = pa.Table.from_pandas(table, preserve_index=False)
    text = json.dumps({} if meta is None else dict(meta)).encode()
    parquet.write_table(
        found.replace_schema_metadata({**(found.schema.metadata or {}), KEY: text}), path, write_page_checksum=True
    )


def read_table(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The table and its text. Raises ValueError where it is no Parquet file that ``write_table`` wrote."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        found = parquet.read_table(path, page_checksum_verification=True)
        meta: dict[str, Any] = json.loads((found.schema.metadata or {})[KEY])
        table: pd.DataFrame = found.to_pandas()
        return table, meta
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ValueError(f"it is no table of netinverse ({error})") from error
