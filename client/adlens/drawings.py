"""Where ``--out`` puts drawings: beside each other, never over each other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from PIL import Image

from adlens import annotate, comparison, contact_sheet, influencer_sheet, popularity
from adlens.ads import AdAnswer
from adlens.answers import PictureAnswer, UserAnswer
from adlens.creatives import CreativeAnswer
from adlens.engagement import EngagementAnswer, EngagementRanking
from adlens.errors import InvalidConfiguration
from adlens.influencers import InfluencerAnswer

_JPEG_QUALITY: Final = 92


class Drawings:
    """Writes annotated pictures under one folder.

    A single picture, the ad for it, or the sheet of its variants becomes ``<out>/<name>.jpg``; a variant to
    be sent ``<out>/<name>-<label>.jpg``; candidates in order ``<out>/ranking.jpg``; those who fit
    a brand ``<out>/<brand>.jpg``; a user's pictures
    ``<out>/<user>/<name>.jpg``, and the one that the user's recommendation rests on ``<out>/<user>.jpg``.
    Names that are taken in the same run get a number.
    """

    def __init__(self, out: Path, inputs: tuple[Path, ...], option: str = "--out") -> None:
        """Make the folder ``out``, which ``option`` names.

        Raises:
            InvalidConfiguration: it cannot be made, or lies where it would overwrite or join ``inputs``.
        """
        self._out = out
        self._taken: set[str] = set()
        self._folders: dict[Path, Path] = {}
        resolved = out.resolve()
        for path in inputs:
            source = path.resolve() if path.is_dir() else path.resolve().parent
            if resolved == source or (path.is_dir() and source in resolved.parents):
                raise InvalidConfiguration(
                    f"{option} {out} lies among the pictures of {path}; give another folder"
                )
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidConfiguration(
                f"{option} {out} cannot be made ({error.strerror}); give another"
            ) from error

    def picture(self, answer: PictureAnswer, user: Path | None = None, root: Path | None = None) -> Path:
        """Draw one picture, of ``user`` where it is one of several; ``root`` is the folder asked for."""
        folder = self._out if user is None else self._folder(user, root or user)
        path = self._free(folder / f"{Path(answer.path).stem}.jpg")
        return _save(path, annotate.draw(answer.path, answer))

    def user(self, answer: UserAnswer, user: Path, root: Path) -> Path | None:
        """Draw the picture that the recommendation for ``user`` rests on; None without one."""
        if answer.shown is None:
            return None
        folder = self._folder(user, root)
        path = self._free(folder.with_name(f"{folder.name}.jpg"))
        drawing = annotate.draw(answer.shown.path, answer.shown, title=answer.title, face=answer.face)
        return _save(path, drawing)

    def ad(self, answer: AdAnswer, campaign: bytes | None) -> Path:
        """Draw the picture beside ``campaign``, the photo found for it, where there is one."""
        path = self._free(self._out / f"{Path(answer.path).stem}.jpg")
        return _save(path, comparison.draw(answer.path, answer, campaign))

    def creative(
        self,
        answer: CreativeAnswer,
        versions: Mapping[str, Image.Image],
        alternates: Mapping[str, Image.Image],
    ) -> Path:
        """Draw the sheet of ``versions`` by label and ``alternates`` by id."""
        path = self._free(self._out / f"{Path(answer.path).stem}.jpg")
        return _save(path, contact_sheet.draw(answer, versions, alternates))

    def engagement(self, answer: EngagementAnswer) -> Path:
        """Draw the picture with what is to be expected of it."""
        path = self._free(self._out / f"{Path(answer.path).stem}.jpg")
        return _save(path, popularity.draw(answer.path, answer))

    def ranking(self, ranking: EngagementRanking) -> Path:
        """Draw all candidates on one sheet."""
        return _save(self._free(self._out / "ranking.jpg"), popularity.draw_ranking(ranking))

    def influencers(self, answer: InfluencerAnswer, posts: influencer_sheet.Pictures) -> Path:
        """Draw the influencers that fit a brand, with their ``posts``."""
        path = self._free(self._out / f"{answer.brand.replace('/', '-')}.jpg")
        return _save(path, influencer_sheet.draw(answer, posts))

    def variant(self, answer: CreativeAnswer, label: str, picture: Image.Image) -> Path:
        """Write the variant ``label`` as it is, to be sent."""
        name = f"{Path(answer.path).stem}-{label.replace('/', '-')}.jpg"
        return _save(self._free(self._out / name), picture)

    def _folder(self, user: Path, root: Path) -> Path:
        """Folder for the pictures of ``user``, who lies in ``root``: one a user."""
        if user not in self._folders:
            name = root.resolve().name or "root"
            self._folders[user] = self._free(self._out / name / user.relative_to(root))
        return self._folders[user]

    def _free(self, path: Path) -> Path:
        """``path``, or where it is taken in this run, the next name with a number."""
        number, free = 1, path
        while str(free).casefold() in self._taken:  # some file systems do not tell A from a
            number += 1
            free = path.with_stem(f"{path.stem}-{number}")
        self._taken.add(str(free).casefold())
        return free


def _save(path: Path, drawing: Image.Image) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.save(path, "JPEG", quality=_JPEG_QUALITY)
    return path
