"""Real photos by others, ordinary and odd, through the real server."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import tritonclient.grpc as triton

from adlens import Failure, PictureAnswer, Recommender, contract, pictures
from tests.e2e.pictures import FACES, infer

EXACT = 0.92
"""Share of photos whose number of faces must be right; counts like "~52" can never be."""

REFUSED = {
    "032_decompression_bomb.gif": ("TooLarge", "4364696535 pixels, and at most 50000000"),
    "035_broken.png": ("BadImage", "not a picture, or a broken one"),
    "037_truncated_jpeg.jpg": ("BadImage", "truncated: no end-of-image marker"),
    "039_truncated_app14.jpg": ("BadImage", "broken: 1 stray bytes at byte 21834"),
    "044_truncated.gif": ("BadImage", "broken: image file is truncated"),
    "058_corrupted.png": ("BadImage", "not a picture, or a broken one"),
    "061_truncated.jpg": ("BadImage", "truncated: a segment at byte 393"),
    "063_cat-3449999_640_grayscale_8bit.jpg": ("BadImage", "a lossless JPEG"),
    "080_face_cut50.jpg": ("BadImage", "truncated: no end-of-image marker"),
    "086_empty.jpg": ("BadImage", "empty: 0 bytes"),
    "089_random.jpg": ("BadImage", "not a picture, or a broken one"),
    "096_huge_20000x20000.png": ("TooLarge", "400000000 pixels, and at most 50000000"),
    "098_big_10000x10000.png": ("TooLarge", "100000000 pixels, and at most 50000000"),
    "101_ztxt_bomb.png": ("BadImage", "broken: Decompressed data too large"),
}
"""Odd files that must be refused: the kind of the failure and what its message says."""

FACELESS = {"017_hopper.ico", "052_indexed.png"}
"""Odd files whose one face is a few pixels high."""


@pytest.fixture(scope="module")
def manifest(test_data: Path) -> list[dict[str, str]]:
    with (test_data / "photos" / "MANIFEST.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_ordinary_photos_have_their_number_of_faces(
    client: triton.InferenceServerClient, test_data: Path, manifest: list[dict[str, str]]
) -> None:
    """Only faces are asked for, so that only they are looked for."""
    rows = [row for row in manifest if row["category"] != "odd"]
    misses = []
    for row in rows:
        jpeg = pictures.load(test_data / "photos" / row["file"]).jpeg
        found = infer(client, jpeg, FACES).as_numpy(contract.FACE_COUNT).item()
        if str(found) != row["faces"]:
            misses.append(f"{row['file']}: {found} for {row['faces']}")
    exact = 1 - len(misses) / len(rows)
    summary = "\n  ".join([f"{exact:.1%} of {len(rows)} photos exact; misses:", *misses])
    print(summary)  # noqa: T201
    assert exact >= EXACT, summary


@pytest.mark.filterwarnings("ignore:Truncated File Read:UserWarning")
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_every_odd_file_is_answered_or_refused_with_the_reason(
    recommender: Recommender, test_data: Path, manifest: list[dict[str, str]]
) -> None:
    rows = [row for row in manifest if row["category"] == "odd"]
    files = [test_data / "photos" / row["file"] for row in rows]
    wrong = []
    for row, path, answer in zip(rows, files, recommender.recommend_many(files), strict=True):
        expected = REFUSED.get(path.name)
        if isinstance(answer, Failure):
            kind, message = expected or ("", "")
            told = answer.message.startswith(f"{path}: ") and message in answer.message
            if answer.kind != kind or not told:
                wrong.append(f"{path.name}: {answer.kind}: {answer.message}")
        elif expected or not _as_in_manifest(row, answer):
            wrong.append(f"{path.name}: {len(answer.faces)} faces, {answer.outcome}")
    assert not wrong, "\n".join(wrong)


def _as_in_manifest(row: dict[str, str], answer: PictureAnswer) -> bool:
    faces = 0 if Path(row["file"]).name in FACELESS else int(row["faces"])
    return len(answer.faces) == faces
