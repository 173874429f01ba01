"""Throughput over picture size, over faces a picture, and of the search over the size of a gallery."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from adlens import contract
from adlens.transport import Connection, Endpoint
from perf import gallery, inputs
from perf.findings import Findings
from perf.serving import served
from perf.setting import Setting
from perf.throughput import Jpeg

SIDES = (256, 1024, 2048, 4096)
"""Pixels a side."""
FACES = (0, 1, 4, 9)
PHOTOS = (1_000, 10_000, 100_000)
IN_FLIGHT = 2
"""Enough that no core idles; of 16 crowds in flight the first answers would take a minute."""
MODEL = contract.RECOMMEND_PRODUCTS


def pictures(setting: Setting, findings: Findings) -> None:
    """``recommend_products`` of one face, by pixels of the picture."""
    given = setting.pictures
    with served(MODEL) as url:
        for side in SIDES:
            jpegs = [inputs.sized(jpeg, side) for jpeg in given]
            _curve(setting, findings, url, str(side), jpegs, {"side": side})


def faces(setting: Setting, findings: Findings) -> None:
    """``recommend_products`` of a full canvas, by the faces that the detector finds there."""
    given = setting.pictures
    with served(MODEL) as url, Connection(Endpoint(url)) as connection:
        for number in FACES:
            jpeg = inputs.crowd(given, number)
            found = inputs.tensors(connection, jpeg, [contract.FACE_COUNT])[contract.FACE_COUNT]
            _curve(setting, findings, url, str(number), [jpeg], {"faces": int(found[0])})


def galleries(setting: Setting, findings: Findings) -> None:
    """The search for one face, by photos of the gallery."""
    slots, length = contract.MAX_FACES, gallery.DIMENSION
    vectors = gallery.directions(slots, 2).reshape(slots, length)
    row = {
        contract.FACE_EMBEDDING: np.where(np.arange(slots)[:, None] < 1, vectors, np.float32(0)),
        contract.FACE_COUNT: np.ones(1, np.int32),
        contract.FILTER: inputs.GIVEN[contract.FILTER],
    }
    for photos in PHOTOS:
        folder = setting.out / "galleries"
        shutil.rmtree(folder, ignore_errors=True)
        gallery.write_repository(folder, gallery.random_contents(photos))
        with served(repositories=[folder]) as url, setting.analyzer(url, [row]) as analyzer:
            loads = [analyzer.closed(gallery.MODEL, each, setting.window_s) for each in (1, 4)]
        findings.put(str(photos), {"photos": photos, "loads": [asdict(load) for load in loads]})
    shutil.rmtree(setting.out / "galleries", ignore_errors=True)


def _curve(
    setting: Setting, findings: Findings, url: str, name: str, jpegs: Sequence[Jpeg], told: dict[str, object]
) -> None:
    with setting.analyzer(url, [{contract.IMAGE: jpeg} for jpeg in jpegs]) as analyzer:
        found = analyzer.closed(MODEL, IN_FLIGHT, setting.window_s)
    size = float(np.mean([len(jpeg) for jpeg in jpegs]))
    findings.put(name, {**told, "bytes": round(size), **asdict(found)})
