"""CSV files of past campaigns as columns of text; what could be misread is refused."""

from __future__ import annotations

import csv
from pathlib import Path

from export.datasets import DatasetError


def read_table(file: Path, row: str) -> dict[str, list[str]]:
    """Columns by the names in the header; cells without blanks around them.

    Args:
        file: a CSV with a header, in UTF-8.
        row: what a row tells of, for messages.

    Raises:
        DatasetError: it cannot be read, is empty, or a record has more or fewer cells than the header.
    """
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            header, *rows = csv.reader(lines, strict=True)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file} cannot be read: {error}") from error
    except ValueError as error:
        raise DatasetError(f"{file} is empty; its first line has to name the columns") from error
    names = [name.strip() for name in header]
    if len(set(names)) < len(names) or "" in names:
        raise DatasetError(f"{file}: the header {header} names a column twice, or not at all")
    rows = [cells for cells in rows if cells]  # a blank line is none
    if not rows:
        raise DatasetError(f"{file} names columns, and holds no {row}")
    for line, cells in enumerate(rows, start=2):
        if len(cells) != len(names):
            raise DatasetError(f"{file}, record {line}: {len(cells)} cells, and the header has {len(names)}")
    return {name: [cells[place].strip() for cells in rows] for place, name in enumerate(names)}
