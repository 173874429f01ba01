"""Past posts of one account or several, as people export them: CSV, a JSON array, or JSON lines.

A row names a picture file, relative to the export, with its likes and comments; a timestamp, a caption, the
number of followers, whether it was advertised, and its account are taken where they are there. A row that
cannot be used is left out, counted by reason, and the first of each reason are named.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Posts:
    """What is known of ``n`` posts.

    Attributes:
        pictures: their files.
        accounts: names; "" where the export names none.
        likes: int64 [n].
        comments: int64 [n].
        times: float64 [n], seconds since 1970 in UTC; a time without a zone is taken for UTC. NaN where
            unknown.
        context: float32 [n, P] as POST of the contract; NaN where unknown.
    """

    pictures: tuple[Path, ...]
    accounts: tuple[str, ...]
    likes: NDArray[np.int64]
    comments: NDArray[np.int64]
    times: NDArray[np.float64]
    context: NDArray[np.float32]

    def __len__(self) -> int:
        """Count the posts."""
        return len(self.pictures)

    @property
    def totals(self) -> NDArray[np.int64]:
        """Likes and comments together, int64 [n]."""
        return self.likes + self.comments

    def subset(self, rows: NDArray[Any]) -> Posts:
        """The posts of ``rows`` (mask or indices)."""
        chosen = np.arange(len(self))[rows]
        return Posts(
            tuple(self.pictures[row] for row in chosen),
            tuple(self.accounts[row] for row in chosen),
            self.likes[chosen],
            self.comments[chosen],
            self.times[chosen],
            self.context[chosen],
        )
