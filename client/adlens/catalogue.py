"""The product catalogue: which product to recommend to someone who shows a label, and in what words.

The catalogue that comes with adlens is ``products.yaml`` beside this file. A new label is a line in a
catalogue and a head of the attribute models; no code.
"""

from __future__ import annotations

import os
import string
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Self

import yaml

from adlens.errors import InvalidConfiguration


@dataclass(frozen=True)
class Product:
    """What to recommend to someone who shows ``label``; ``title`` is ready to be shown."""

    label: str
    product: str
    title: str


@dataclass(frozen=True)
class Catalogue:
    """Products by label, in the order of the file."""

    products: Mapping[str, Product]

    @classmethod
    def default(cls) -> Self:
        """The catalogue that comes with adlens."""
        file = resources.files("adlens") / "products.yaml"
        return cls.parse(file.read_text(encoding="utf-8"), "products.yaml")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a catalogue file.

        Raises:
            InvalidConfiguration: it cannot be read, or any line of it is wrong.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfiguration(
                f"catalogue {path} cannot be read ({error}); check the path"
            ) from error
        return cls.parse(text, os.fspath(path))

    @classmethod
    def parse(cls, text: str, source: str) -> Self:
        """Read a catalogue from YAML; ``source`` names it in messages.

        Raises:
            InvalidConfiguration: any line of it is wrong.
        """
        try:
            raw = yaml.load(text, _UniqueKeys)  # noqa: S506 - a SafeLoader
            return cls(_products(raw))
        except (yaml.YAMLError, _WrongLineError) as error:
            raise InvalidConfiguration(
                f"catalogue {source}: {' '.join(str(error).split())}; write it like adlens/products.yaml"
            ) from error

    def __contains__(self, label: str) -> bool:
        """Whether something is sold to those who show ``label``."""
        return label in self.products

    def __getitem__(self, label: str) -> Product:
        """The product for ``label``."""
        return self.products[label]


class _WrongLineError(ValueError):
    """A line of the catalogue is wrong."""


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that comes twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:  # noqa: ANN401
        mapping = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            keys = [key.value for key, _ in node.value]
            twice = next((key for key in keys if keys.count(key) > 1), "a key")
            raise _WrongLineError(f"{twice!r} comes twice")
        return mapping


def _products(raw: object) -> dict[str, Product]:
    if not isinstance(raw, dict):
        raise _WrongLineError("no YAML mapping with the keys title and products")
    unknown = set(raw) - {"title", "products"}
    if unknown:
        raise _WrongLineError(f"unknown keys {sorted(map(str, unknown))}")
    lines = raw.get("products")
    if not isinstance(lines, dict) or not lines:
        raise _WrongLineError("products has no lines `label: product`")
    title = raw.get("title")
    return {label: _product(label, line, title) for label, line in lines.items()}


def _product(label: object, line: object, title: object) -> Product:
    if isinstance(line, dict):
        unknown = set(line) - {"title", "product"}
        if unknown:
            raise _WrongLineError(f"{label}: unknown keys {sorted(map(str, unknown))}")
        title = line.get("title", title)
        line = line.get("product")
    for what, value in (("label", label), ("product", line), ("title", title)):
        if not isinstance(value, str) or not value.strip():
            raise _WrongLineError(f"{label}: {what} is {value!r}, and must be a text")
    label, product, title = str(label), str(line), str(title)
    return Product(label, product, _worded(title, product))


def _worded(title: str, product: str) -> str:
    """Put the product's name into a title, where nothing but ``{product}`` may stand in braces."""
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(title) if name is not None}
        if fields - {"product"}:
            raise _WrongLineError(f"title {title!r}: only {{product}} may stand in braces")
        return title.format(product=product)
    except ValueError as error:
        raise _WrongLineError(f"title {title!r}: {error}") from error
