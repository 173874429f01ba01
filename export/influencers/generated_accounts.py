"""Generated accounts: brands and influencers of a few categories, with drawn pictures, captions and mentions.

They let everything of job 5 run where no accounts are at hand: the demo and the tests use them. What fits is
planted: a brand works with influencers of its own category, and the better the closer they come to its style,
which is the colour that their pictures share and some words of their captions. How well a post of the brand's
does that mentions an influencer is the planted competence, and chance.

``python -m export.influencers.generated_accounts FOLDER`` writes a folder for each account
(``adlens.accounts``) and ``truth.csv``: brand, influencer and planted competence of all that worked together.
"""

from __future__ import annotations

import colorsys
import csv
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

import click
from PIL import Image, ImageDraw

from adlens.accounts import ACCOUNT, POSTS
from export import generated_creatives

TRUTH: Final = "truth.csv"
COLUMNS: Final = ("brand", "influencer", "competence")
BRANDS: Final = 6
INFLUENCERS: Final = 24
PICTURES: Final = 5
"""Posts of an account, each with a picture; a brand has one more for each influencer that it works with."""
SEED: Final = 20
PARTNERS: Final = 0.5
"""Share of the influencers of its category that a brand works with: those that are closest to its style."""
COMPETENCE: Final = (0.005, 0.2)
"""Of the furthest and of the closest partner; inside 3e-5 to 0.273, which real brands had."""
_NOISE: Final = 0.15
"""Standard deviation of the logarithm of what a post does besides."""
_FOLLOWERS: Final = (3_000, 120_000)
"""Of an influencer: a few have fewer, or more, than micro-influencers have."""
_LANGUAGES: Final = ("en", "en", "en", "de")
_NEWEST: Final = datetime(2026, 11, 1, 18, tzinfo=UTC)
_SIZE: Final = (320, 320)
_STYLES: Final = ("classic", "bold", "sunny", "fresh", "cool", "dreamy")
"""Words for styles, round the circle of colours."""
_NAMES: Final = ("ada", "ben", "cleo", "dan", "eva", "finn", "gia", "hugo", "ina", "jon", "kim", "leo")
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "shoes": ("sneakers", "laces", "sole", "run", "street", "pair", "steps", "drop"),
    "food": ("cake", "oven", "recipe", "sweet", "kitchen", "flour", "taste", "plate"),
    "travel": ("mountains", "trail", "sunrise", "view", "journey", "valley", "summit", "camp"),
}
CATEGORIES: Final = tuple(_WORDS)
_FILLERS: Final = ("so", "happy", "with", "this", "today", "what", "a", "day", "new", "my", "love", "it")
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Planted:
    """An account; ``style`` is its place on the circle of colours, 0 to 1."""

    id: str
    category: str
    style: float
    followers: int
    language: str
    brand: bool


def plant(brands: int, influencers: int, seed: int = SEED) -> tuple[list[Planted], list[Planted]]:
    """Brands and influencers by chance; the same numbers give the same accounts."""
    random = Random(seed)  # noqa: S311 - no secret
    found = [
        [
            Planted(
                f"{CATEGORIES[number % len(CATEGORIES)]}_brand_{number}"
                if brand
                else f"{_NAMES[number % len(_NAMES)]}_{number}",
                CATEGORIES[number % len(CATEGORIES)],
                random.random(),
                _by_chance(random, 150_000, 900_000) if brand else _by_chance(random, *_FOLLOWERS),
                "en" if brand else random.choice(_LANGUAGES),
                brand,
            )
            for number in range(count)
        ]
        for brand, count in ((True, brands), (False, influencers))
    ]
    return found[0], found[1]


def partners(brand: Planted, influencers: list[Planted]) -> dict[str, float]:
    """The influencers that ``brand`` works with, and their planted competence, the best first."""
    own = [each for each in influencers if each.category == brand.category]
    own.sort(key=lambda each: _apart(brand.style, each.style))
    worst, best = map(math.log, COMPETENCE)
    return {
        each.id: math.exp(best + (worst - best) * 2 * _apart(brand.style, each.style))
        for each in own[: math.ceil(PARTNERS * len(own))]
    }


def write_accounts(
    folder: Path,
    brands: int = BRANDS,
    influencers: int = INFLUENCERS,
    pictures: int = PICTURES,
    seed: int = SEED,
) -> Path:
    """Write the accounts below ``folder``, and ``truth.csv``, last.

    Returns:
        The folder. Where it holds the truth already, nothing is written.
    """
    truth = folder / TRUTH
    if truth.exists():
        return folder
    sponsors, people = plant(brands, influencers, seed)
    rows = []
    for account in (*sponsors, *people):
        working = partners(account, people) if account.brand else {}
        rows += [(account.id, name, f"{competence:.5f}") for name, competence in working.items()]
        random = Random(f"{seed}/{account.id}")  # noqa: S311 - pictures, no secrets
        _write(folder / account.id, account, working, pictures, random)
    partial = truth.with_suffix(".partial")
    with partial.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    partial.rename(truth)
    return folder


def _write(
    folder: Path, account: Planted, working: Mapping[str, float], pictures: int, random: Random
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    about = {"name": account.id.replace("_", " ").title(), "followers": account.followers}
    about |= {"category": account.category, "language": account.language, "brand": account.brand}
    (folder / ACCOUNT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    posts: list[tuple[str | None, float]]
    posts = [(None, math.exp(random.gauss(math.log(0.03), 0.5))) for _ in range(pictures)]
    posts += [(name, value * math.exp(random.gauss(0, _NOISE))) for name, value in working.items()]
    random.shuffle(posts)
    lines = []
    for number, (mentioned, rate) in enumerate(posts):
        likes = round(account.followers * rate / 1.01)
        post = {
            "caption": _caption(account, mentioned, random),
            "timestamp": (_NEWEST - timedelta(days=random.uniform(0, 360))).isoformat(timespec="seconds"),
            "likes": likes,
            "comments": round(account.followers * rate) - likes,
        }
        if mentioned is None:
            _DRAW[account.category](account, random).save(folder / f"{number}.jpg", quality=88)
            post["image"] = f"{number}.jpg"
        lines.append(json.dumps(post))
    (folder / POSTS).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _caption(account: Planted, mentioned: str | None, random: Random) -> str:
    words = random.choices(_WORDS[account.category], k=5) + random.choices(_FILLERS, k=5)
    style = _STYLES[round(account.style * len(_STYLES)) % len(_STYLES)]
    words += [style] * 2 + ([f"@{mentioned}"] if mentioned else [])
    random.shuffle(words)
    tags = {account.category, random.choice(_WORDS[account.category]), style}
    return " ".join([*words, *(f"#{tag}" for tag in sorted(tags))])


def _shoe(account: Planted, random: Random) -> Image.Image:
    shoe = generated_creatives.new_shoe(random)
    drawn = generated_creatives.draw(shoe, random).resize(_SIZE)
    return Image.blend(drawn, Image.new("RGB", _SIZE, _colour(account.style, random, 0.8)), 0.35)


def _cake(account: Planted, random: Random) -> Image.Image:
    """Round things on a round plate."""
    image = Image.new("RGB", _SIZE, _colour(account.style, random, 0.95, 0.25))
    pen, middle = ImageDraw.Draw(image), _SIZE[0] / 2
    for radius, value in ((130, 1.0), (105, 0.75), (80, 0.95)):
        box = [middle - radius, middle - radius, middle + radius, middle + radius]
        pen.ellipse(box, fill=_colour(account.style, random, value, 0.15 if radius == 130 else 0.7))
    for _ in range(random.randint(4, 12)):
        turn, far = random.uniform(0, 2 * math.pi), random.uniform(20, 65)
        x, y = middle + far * math.cos(turn), middle + far * math.sin(turn)
        pen.ellipse([x - 9, y - 9, x + 9, y + 9], fill=_colour(account.style, random, 0.5, 0.9))
    return image


def _mountains(account: Planted, random: Random) -> Image.Image:
    """Peaks below a sky, the nearer the darker."""
    image = Image.new("RGB", _SIZE, _colour(account.style, random, 1.0, 0.3))
    pen, (width, height) = ImageDraw.Draw(image), _SIZE
    x, y = random.uniform(60, width - 60), random.uniform(40, 90)
    pen.ellipse([x - 25, y - 25, x + 25, y + 25], fill=_colour(account.style, random, 1.0, 0.1))
    for row in range(3):
        base = height * (0.4 + 0.2 * row)
        peaks = [(step * width / 6, base - random.uniform(0, 70) * (step % 2)) for step in range(7)]
        ground = [(0.0, float(height)), *peaks, (float(width), float(height))]
        pen.polygon(ground, fill=_colour(account.style, random, 0.8 - 0.25 * row, 0.6))
    return image


_DRAW: Final[Mapping[str, Callable[[Planted, Random], Image.Image]]] = {
    "shoes": _shoe,
    "food": _cake,
    "travel": _mountains,
}


def _colour(style: float, random: Random, value: float, saturation: float = 0.8) -> Colour:
    """A colour close to ``style``."""
    parts = colorsys.hsv_to_rgb((style + random.gauss(0, 0.02)) % 1, saturation, value)
    red, green, blue = (round(255 * part) for part in parts)
    return red, green, blue


def _apart(one: float, other: float) -> float:
    """Distance on the circle of colours, 0 to 0.5."""
    way = abs(one - other) % 1
    return min(way, 1 - way)


def _by_chance(random: Random, low: int, high: int) -> int:
    """A number between, its logarithm by chance."""
    return round(math.exp(random.uniform(math.log(low), math.log(high))))


@click.command(context_settings={"show_default": True})
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--brands", default=BRANDS, type=click.IntRange(1))
@click.option("--influencers", default=INFLUENCERS, type=click.IntRange(1))
@click.option("--pictures", default=PICTURES, type=click.IntRange(1), help="Of each account.")
@click.option("--seed", default=SEED)
def main(folder: Path, brands: int, influencers: int, pictures: int, seed: int) -> None:
    """Write generated accounts, of which it is known who fits whom, into FOLDER."""
    click.echo(write_accounts(folder, brands, influencers, pictures, seed))


if __name__ == "__main__":
    main()
