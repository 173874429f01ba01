"""``python -m perf.peers.seed.run FOLDER``: pictures a second, as JSON, in the seed's way.

IMG2RECOMMENDER finds faces by ``face_recognition`` (dlib's HOG detector, the picture enlarged once), cuts
them out, and asks six networks, each fine-tuned for one label: VGG16 and ResNet50, for hat, beard and
eyewear. They run in torch, eagerly, face by face. Ours have its architectures and seeded weights: only speed
is compared.
"""

from __future__ import annotations

import copy
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
import dlib
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from export.networks.attributes import AttributeNetwork, crop_boxes
from export.networks.backbones import ResNet50Backbone, Vgg16Backbone
from export.networks.resnet import ResNet50
from export.networks.vgg import Vgg16
from perf.callers import closed
from perf.throughput import Jpeg, read_pictures

LABELS: Final = ("hat", "beard", "eyewear")
FACES: Final = 1
"""The pictures show one each; the false one that this detector finds on them is not held against it."""
ENLARGED: Final = 1
"""Times that the detector doubles the picture; the default of ``face_recognition``."""


class Seed:
    """The detector and six networks with trunks of their own."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self._detector = dlib.get_frontal_face_detector()
        backbones = (Vgg16Backbone(Vgg16()), ResNet50Backbone(ResNet50()))
        self._networks = [
            AttributeNetwork(copy.deepcopy(backbone), (label,)).eval()
            for backbone in backbones
            for label in LABELS
        ]

    def run(self, jpeg: Jpeg) -> list[list[float]]:
        """Six probabilities for each face of a picture, at most FACES of them."""
        pixels = np.asarray(Image.open(io.BytesIO(jpeg.tobytes())).convert("RGB"))
        found = sorted(self._detector(pixels, ENLARGED), key=lambda face: -face.area())
        return [self._asked(pixels, face) for face in found[:FACES]]

    def _asked(self, pixels: Jpeg, face: dlib.rectangle) -> list[float]:
        box = torch.tensor([[face.left(), face.top(), face.right(), face.bottom()]], dtype=torch.float32)
        left, top, right, bottom = crop_boxes(box)[0].round().int().tolist()
        rows = slice(max(top, 0), min(bottom, pixels.shape[0]))
        columns = slice(max(left, 0), min(right, pixels.shape[1]))
        crop = torch.from_numpy(pixels[rows, columns].copy()).permute(2, 0, 1).float().unsqueeze(0)
        with torch.inference_mode():
            return [float(_probability(network, crop)) for network in self._networks]


def _probability(network: AttributeNetwork, crop: Tensor) -> Tensor:
    size = network.backbone.size
    chip = functional.interpolate(crop, (size, size), mode="bilinear", align_corners=False)
    return network.logits(chip).sigmoid()


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seconds", type=float, default=10.0, show_default=True)
@click.option("--warm-up", "warm_up_s", type=float, default=2.0, show_default=True)
def main(folder: Path, seconds: float, warm_up_s: float) -> None:
    """Measure with the JPEG files of FOLDER, one caller, and print the figures as JSON."""
    seed, pictures = Seed(), read_pictures(folder)
    faces = [len(seed.run(picture)) for picture in pictures]
    if not sum(faces):
        raise click.ClickException(f"{folder}: no face was found, so that no network would run")
    figures = asdict(closed([seed.run], pictures, seconds, warm_up_s))
    click.echo(json.dumps(figures | {"faces_a_picture": sum(faces) / len(faces)}))


if __name__ == "__main__":
    main()
