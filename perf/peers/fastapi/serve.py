"""``python -m perf.peers.fastapi.serve PORT``: JPEG bytes by POST to /infer, faces and probabilities as JSON.

The arrangement that fills the cores best: one process, as many threads as cores, each with a DALI pipeline of
its own and one-thread sessions. ONNX Runtime and DALI leave Python's lock while they compute.
"""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import uvicorn
from fastapi import FastAPI, Request

from perf.peers.stages import Answer, answer
from perf.throughput import InProcess


def application(threads: int) -> FastAPI:
    """The web application, with its models loaded."""
    stages, pool, app = InProcess(), ThreadPoolExecutor(threads), FastAPI()

    async def infer(request: Request) -> Answer:
        jpeg = np.frombuffer(await request.body(), np.uint8)
        return await asyncio.get_running_loop().run_in_executor(pool, lambda: answer(stages.run(jpeg)))

    async def health() -> str:
        return "ok"

    app.add_api_route("/infer", infer, methods=["POST"], response_model=None)
    app.add_api_route("/health", health, methods=["GET"], response_model=None)
    return app


if __name__ == "__main__":
    uvicorn.run(application(os.cpu_count() or 1), port=int(sys.argv[1]), log_level="warning")
