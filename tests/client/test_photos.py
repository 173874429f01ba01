"""Which pictures go into a catalogue of alternates: from a folder, or from a table as shops keep it."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from adlens import errors
from adlens.photos import Photo, find_creatives, find_photos

SHOP = "relative_im_path,shoe_brand,shoe_gender,shoe_name"


def table(folder: Path, text: str) -> Path:
    path = folder / "catalogue.csv"
    path.write_text(text, encoding="utf-8")
    return path


def save(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(path)


def test_a_catalogue_names_its_pictures_by_their_paths(tmp_path: Path) -> None:
    source = table(tmp_path, f"{SHOP},season\nimg/1.jpg,Adidas,women,Samba,summer\n2.jpg,Nike,men,,\n")
    assert find_creatives(source) == [
        Photo("img/1.jpg", tmp_path / "img/1.jpg",
              {"brand": "Adidas", "type": "women", "name": "Samba", "season": "summer"}),
        Photo("2.jpg", tmp_path / "2.jpg", {"brand": "Nike", "type": "men", "name": "", "season": ""}),
    ]  # fmt: skip


def test_the_pictures_of_a_catalogue_may_lie_elsewhere(tmp_path: Path) -> None:
    source = table(tmp_path, f"{SHOP}\nimg/1.jpg,Adidas,women,Samba\n")
    (photo,) = find_creatives(source, images=tmp_path / "elsewhere")
    assert photo.path == tmp_path / "elsewhere" / "img" / "1.jpg"


def test_outcomes_are_no_attributes_and_a_picture_that_comes_again_is_one(tmp_path: Path) -> None:
    source = table(
        tmp_path,
        f"{SHOP},open_rate,click_through,abandoned_cart,unsubscribed,industry\n"
        "1.jpg,Adidas,women,Samba,1,0,1,0,sport\n"
        "1.jpg,Adidas,women,Samba,0,1,1,1,sport\n",
    )
    (photo,) = find_creatives(source)
    assert photo.attributes == {"brand": "Adidas", "type": "women", "name": "Samba", "industry": "sport"}


def test_a_picture_that_comes_again_with_another_attribute_is_refused(tmp_path: Path) -> None:
    source = table(tmp_path, f"{SHOP},industry\n1.jpg,A,women,x,sport\n1.jpg,A,women,x,retail\n")
    with pytest.raises(
        errors.BadRecord, match=r"'1.jpg' has industry 'sport' in one row and 'retail' in another; .* out"
    ):
        find_creatives(source)


def test_a_path_that_is_too_long_for_an_id_is_refused_with_the_remedy(tmp_path: Path) -> None:
    source = table(tmp_path, f"{SHOP}\n{'x' * 61}.jpg,A,women,x\n")
    with pytest.raises(errors.BadRecord, match=r"has 65 bytes, .* at most 64 .* in columns id and path"):
        find_creatives(source)
    (photo,) = find_creatives(table(tmp_path, f"id,path,shoe_gender\nshort,{'x' * 61}.jpg,women\n"))
    assert (photo.id, photo.path.name, photo.attributes) == ("short", "x" * 61 + ".jpg", {"type": "women"})


def test_two_pictures_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.DuplicateId, match="'a' is that of two photos"):
        find_creatives(table(tmp_path, "id,path\na,1.jpg\na,2.jpg\n"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("shoe_brand,path\nA,x\n", r"lacks the column id \(or relative_im_path\); add it"),
        (f"{SHOP},shoe_name\n1,2,3,4,5\n", "has the column name twice; rename one"),
        (f"{SHOP},brand\n1,2,3,4,5\n", "has the column brand twice; rename one"),
        ("", r"lacks the column id and path \(or relative_im_path\)"),
    ],
)
def test_a_table_that_cannot_be_read_says_why(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(errors.InvalidConfiguration, match=said):
        find_creatives(table(tmp_path, text))


def test_a_catalogue_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(errors.NoPictures, match="no photos; check the path"):
        find_creatives(table(tmp_path, f"{SHOP}\n"))


def test_too_many_attributes_are_refused(tmp_path: Path) -> None:
    more = ",".join(f"a{number}" for number in range(6))
    with pytest.raises(errors.BadRecord, match=r"9 attributes \(brand, type, name, a0"):
        find_creatives(table(tmp_path, f"{SHOP},{more}\n1,2,3,4{',x' * 6}\n"))


def test_a_folder_names_its_pictures_by_their_paths_from_there(tmp_path: Path) -> None:
    save(tmp_path / "samba" / "1.jpg", tmp_path / "gazelle" / "1.jpg", tmp_path / "top.png")
    assert {photo.id: photo.attributes for photo in find_creatives(tmp_path, "model")} == {
        "top": {"model": tmp_path.name},
        "gazelle/1": {"model": "gazelle"},
        "samba/1": {"model": "samba"},
    }
    with pytest.raises(errors.DuplicateId, match="'1' is that of two photos"):  # as in a gallery of faces
        find_photos(tmp_path)
