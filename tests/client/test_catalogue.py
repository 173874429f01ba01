"""A product is a line of the catalogue; a wrong line is fatal and says what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from adlens.catalogue import Catalogue
from adlens.errors import InvalidConfiguration


def test_the_catalogue_of_adlens_sells_hats_beard_care_and_eyewear() -> None:
    catalogue = Catalogue.default()
    assert {label: line.product for label, line in catalogue.products.items()} == {
        "hat": "hat",
        "beard": "beard-care",
        "eyewear": "eyewear",
    }
    assert catalogue["beard"].title == "We recommend beard-care products to this user!"


def test_a_new_product_is_a_line(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(
        "title: 'Try our {product}!'\nproducts:\n  hat: hats\n"
        "  necklace: { product: jewellery, title: '{product} for you' }\n"
    )
    catalogue = Catalogue.load(file)
    assert catalogue["hat"].title == "Try our hats!"
    assert catalogue["necklace"].title == "jewellery for you"
    assert "beard" not in catalogue


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no YAML mapping"),
        ("- hat", "no YAML mapping"),
        ("title: a\nproducts: {}", "no lines"),
        ("title: a\nproducts: {hat: 3}", "hat: product is 3"),
        ("title: a\nproducts: {hat: }", "hat: product is None"),
        ("products: {hat: hat}", "title is None"),
        ("title: '{prodct}'\nproducts: {hat: hat}", "only {product} may stand in braces"),
        ("title: '{product'\nproducts: {hat: hat}", "title '{product'"),
        ("title: a\nproducts: {hat: hat, hat: cap}", "'hat' comes twice"),
        ("title: a\nproducts: {hat: {produkt: hat}}", "unknown keys"),
        ("title: a\nlabels: {}\nproducts: {hat: hat}", "unknown keys"),
        ("title: [", "while parsing"),
    ],
)
def test_a_wrong_catalogue_is_fatal(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises(InvalidConfiguration, match=r"own\.yaml.*write it like") as caught:
        Catalogue.load(file)
    assert reason in str(caught.value)


def test_a_catalogue_that_is_not_there_is_fatal(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfiguration, match=r"none\.yaml cannot be read"):
        Catalogue.load(tmp_path / "none.yaml")
