"""Judge an embedder through the running server: ``python -m export.evaluate_faces --pairs P --images DIR``.

LFW's protocol: each pair of pictures is one person's or not; a pair in one of ten folds is judged by the
threshold that is best on the other nine. Pictures go to the server as any caller would send them, detector
and all; the main face of each stands for it. A pair with a picture in which no face is found counts as
wrong, as in LFW. Prints the figures as JSON, and with ``--out`` also writes them and draws the ROC curve.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from adlens import contract
from adlens.answers import Failure
from adlens.enrolment import FaceEmbedder, embed_many
from adlens.errors import AdlensError, NoFace
from adlens.photos import Photo
from adlens.transport import Connection, Endpoint
from export.datasets import DatasetError
from export.pairs import Pair, read_pairs
from export.roc import draw_roc

THRESHOLDS: Final = np.arange(-1.0, 1.0, 0.001)
"""Cosines that are tried."""
WORST: Final = 2.0
"""Beyond every cosine and threshold: what a pair scores in which a face was missed, on the wrong side."""
_TITLE: Final = "through the server"


def similarities(pairs: Sequence[Pair], vectors: Mapping[Path, NDArray[np.float32]]) -> NDArray[np.float32]:
    """Cosine of each pair; ``WORST``, on the wrong side, where a picture has no vector."""
    return np.array(
        [
            vectors[pair.a] @ vectors[pair.b]
            if pair.a in vectors and pair.b in vectors
            else (-WORST if pair.same else WORST)
            for pair in pairs
        ],
        np.float32,
    )


def judge(
    scores: NDArray[np.float32], same: NDArray[np.bool_], folds: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Accuracy in each fold, and the threshold that was best on the others.

    Where several are best, the one in the middle.
    """
    right = (scores >= THRESHOLDS[:, None]) == same
    accuracies, chosen = [], []
    for fold in np.unique(folds):
        hits = right[:, folds != fold].sum(1)
        best = np.flatnonzero(hits == hits.max())
        middle = best[len(best) // 2]
        chosen.append(THRESHOLDS[middle])
        accuracies.append(right[middle, folds == fold].mean())
    return np.array(accuracies), np.array(chosen)


def figures(pairs: Sequence[Pair], scores: NDArray[np.float32], threshold: float) -> dict[str, Any]:
    """Of the pairs: accuracy with its standard error over the folds, thresholds, area under the curve."""
    same = np.array([pair.same for pair in pairs])
    accuracies, chosen = judge(scores, same, np.array([pair.fold for pair in pairs]))
    return {
        "pairs": len(pairs),
        "same": int(same.sum()),
        "folds": len(accuracies),
        "accuracy": round(float(accuracies.mean()), 4),
        "standard_error": round(float(accuracies.std(ddof=1) / np.sqrt(len(accuracies))), 4),
        "threshold": round(float(chosen.mean()), 4),
        "accuracy_at_card_threshold": round(float(((scores >= threshold) == same).mean()), 4),
        "card_threshold": threshold,
        "auc": round(float(roc_auc_score(same, scores)), 5),
        "pairs_with_missed_face": int((np.abs(scores) >= WORST).sum()),
    }


def fetch_lfw() -> tuple[Path, Path]:
    """``pairs.txt`` and the pictures of LFW, fetched by scikit-learn's loader where they are not there.

    Raises:
        DatasetError: they cannot be fetched.
    """
    from sklearn.datasets import fetch_lfw_pairs, get_data_home

    try:
        # Only the download is wanted: the loader itself gives scaled arrays, not files.
        fetch_lfw_pairs(subset="10_folds", resize=0.1)
    except OSError as error:
        raise DatasetError(f"LFW cannot be fetched: {error}; name --pairs and --images") from error
    home = Path(get_data_home()) / "lfw_home"
    return home / "pairs.txt", home / "lfw_funneled"


@click.command(context_settings={"show_default": True, "auto_envvar_prefix": "ADLENS_EVALUATE"})
@click.option("--data", type=click.Choice(["lfw"]), help="Fetch LFW, instead of --pairs and --images.")
@click.option("--pairs", type=click.Path(path_type=Path), help="LFW's pairs.txt, or a CSV a,b,same.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder of the pictures.")
@click.option("--embedder", default=contract.EMBEDDER)
@click.option("--url", envvar="ADLENS_URL", default="127.0.0.1:8001")
@click.option("--workers", default=8, help="Pictures in flight.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for figures and ROC curve.")
def main(
    data: str | None,
    pairs: Path | None,
    images: Path | None,
    embedder: str,
    url: str,
    workers: int,
    out: Path | None,
) -> None:
    """Judge the served embedder on pairs of pictures."""
    if bool(data) == bool(pairs) or bool(pairs) != bool(images):
        raise click.UsageError("name either --data lfw, or both --pairs and --images")
    try:
        file, folder = (pairs, images) if pairs and images else fetch_lfw()
        read = read_pairs(file, folder)
    except DatasetError as error:
        raise click.UsageError(str(error)) from error
    photos = [Photo(path.stem, path) for path in sorted({path for pair in read for path in (pair.a, pair.b)})]
    vectors, without_face, failures = {}, [], []
    try:
        with Connection(Endpoint(url)) as connection:
            asked = FaceEmbedder(connection, embedder)
            card = asked.card
            began = time.perf_counter()
            answers = embed_many(asked, photos, workers)
            for photo, answer in zip(
                photos, tqdm(answers, total=len(photos), unit="picture", disable=None), strict=True
            ):
                if not isinstance(answer, Failure):
                    vectors[photo.path] = answer.embedding.vector
                elif answer.kind == NoFace.__name__:
                    without_face.append(photo.path.name)
                else:
                    failures.append(f"{answer.path}: {answer.message}")
            took_s = time.perf_counter() - began
    except AdlensError as error:
        raise click.ClickException(str(error)) from error
    for failure in failures:
        click.echo(f"error: {failure}", err=True)
    if not vectors:
        raise click.ClickException(f"no face in any of the {len(photos)} pictures")
    scores = similarities(read, vectors)
    report = {
        "embedder": embedder,
        "weights": card.weights,
        "starter": card.starter,
        **figures(read, scores, card.threshold),
        "pictures": len(photos),
        "without_face": without_face,
        "failed": len(failures),
        "seconds": round(took_s, 2),
        "pictures_per_second": round(len(photos) / took_s, 1),
    }
    click.echo(json.dumps(report, indent=2))
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"faces_{embedder}.json").write_text(json.dumps(report, indent=2) + "\n")
        labels = np.array([[pair.same] for pair in read], np.float32)
        draw_roc(scores[:, None], labels, (embedder,), _TITLE, out / f"faces_{embedder}.png")
    if failures:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
