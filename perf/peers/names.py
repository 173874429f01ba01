"""The ways to do job 1 that are measured beside each other, and what tables call them."""

from __future__ import annotations

from typing import Final

ADLENS: Final = "adlens"
ADLENS_INT8: Final = "adlens_int8"
ADLENS_FAST: Final = "adlens_fast"
SEED: Final = "seed"
FASTAPI: Final = "fastapi"
LITSERVE: Final = "litserve"
IN_PROCESS: Final = "in_process"
SERVERS: Final = (FASTAPI, LITSERVE)
"""Those of the same graphs, for the same callers."""
LABELS: Final = {
    SEED: "dlib HOG and six eager torch networks, picture by picture",
    FASTAPI: "FastAPI around the same graphs",
    LITSERVE: "LitServe around the same graphs",
    ADLENS: "adlens",
    ADLENS_INT8: "adlens, in integers",
    ADLENS_FAST: "adlens, the fast ensemble",
    IN_PROCESS: "the same graphs in one process, no server",
}
