"""What a disk has damaged is not served: a start goes back to what is sound, or says what is to be done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adlens import contract
from adlens.galleries.files import GalleryFolder
from adlens.transport import Connection, Endpoint
from server.damage import set_damaged_aside
from server.errors import DamagedGalleryError
from server.repository import read_models
from tests.server.launched import Launched, wait_until
from tests.server.people import add_gallery, people, publish, search

Launch = Callable[[], Launched]


@pytest.fixture
def gallery(tmp_path: Path) -> GalleryFolder:
    """A gallery whose versions 1 and 2 hold nobody and three people."""
    found = add_gallery(tmp_path / "repository")
    publish(found, people(range(3)))
    return found


@pytest.fixture
def launch(gallery: GalleryFolder) -> Iterator[Launch]:
    """Starts servers of that gallery alone."""
    running: list[Launched] = []

    def start() -> Launched:
        running.append(Launched("--model-repository", str(gallery.folder.parent)))
        return running[-1]

    yield start
    for launched in running:
        launched.kill()


def turn_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def checked(gallery: GalleryFolder) -> list[str]:
    """What is said of the gallery before a start."""
    said: list[str] = []
    set_damaged_aside(read_models([gallery.folder.parent]).values(), said.append)
    return said


def names(gallery: GalleryFolder) -> set[str]:
    return {entry.name for entry in gallery.folder.iterdir() if entry.is_dir()}


def test_what_is_sound_stays_as_it_is(gallery: GalleryFolder) -> None:
    assert checked(gallery) == []
    assert names(gallery) == {"1", "2"}


@pytest.mark.parametrize("name", ["vectors.bin", "ids.bin", "groups.bin", "model.onnx"])
@pytest.mark.parametrize("damage", [turn_a_bit, cut_off, Path.unlink])
def test_the_newest_sound_version_takes_the_place_of_a_damaged_one(
    gallery: GalleryFolder, name: str, damage: Callable[[Path], None]
) -> None:
    newest = gallery.versions()[0]
    file = newest / name
    damage(file)
    kept = {each.name: each.read_bytes() for each in newest.iterdir()}
    (line,) = checked(gallery)
    assert line.startswith(f"goes back to version 1 of gallery: {file} is damaged (")
    assert "Version 2 is set aside as .damaged-2" in line
    assert names(gallery) == {"1", ".damaged-2"}
    aside = gallery.folder / ".damaged-2"
    assert {each.name: each.read_bytes() for each in aside.iterdir()} == kept
    assert checked(gallery) == []


def test_of_several_damaged_versions_each_is_set_aside(gallery: GalleryFolder) -> None:
    cut_off(publish(gallery, people(range(4))) / "ids.bin")
    cut_off(gallery.folder / "2" / "vectors.bin")
    assert [line.split("Version ")[1][0] for line in checked(gallery)] == ["3", "2"]
    assert names(gallery) == {"1", ".damaged-2", ".damaged-3"}


@pytest.mark.parametrize(
    "manifest", [None, "", "[]", "{}", '{"sha256": []}', '{"sha256": {}}', '{"sha256": null}', '{"sha256": {']
)
def test_a_manifest_that_says_nothing_is_damaged(gallery: GalleryFolder, manifest: str | None) -> None:
    file = gallery.folder / "2" / contract.GALLERY_MANIFEST
    if manifest is None:
        file.unlink()
    else:
        file.write_text(manifest)
    (line,) = checked(gallery)
    assert "2/gallery.json is damaged (" in line


def test_a_file_that_no_server_reads_keeps_none_from_starting(gallery: GalleryFolder) -> None:
    cut_off(gallery.folder / "2" / contract.GALLERY_TABLE)
    assert checked(gallery) == []


@pytest.mark.parametrize("name", ["vectors.bin", contract.GALLERY_MANIFEST])
def test_a_gallery_without_a_sound_version_is_left_as_it_is(gallery: GalleryFolder, name: str) -> None:
    for version in gallery.versions():
        (version / name).unlink()
    with pytest.raises(
        DamagedGalleryError,
        match=rf"^gallery gallery: \S+/2/{name} is damaged \(No such .* restore \S+/2 from",
    ):
        checked(gallery)
    assert names(gallery) == {"1", "2"}


def test_a_version_that_cannot_be_renamed_is_told_of(gallery: GalleryFolder) -> None:
    cut_off(gallery.folder / "2" / "ids.bin")
    (gallery.folder / ".damaged-2" / "kept").mkdir(parents=True)
    with pytest.raises(DamagedGalleryError, match=r"ids.bin is damaged .* cannot be renamed to .damaged-2"):
        checked(gallery)


def test_what_was_set_aside_goes_when_the_gallery_changes_and_its_number_with_it(
    gallery: GalleryFolder,
) -> None:
    (gallery.folder / "2" / "vectors.bin").unlink()
    checked(gallery)
    with gallery.locked():
        assert gallery.publish(people(range(4))).name == "3"
        assert gallery.wipe_old(0) == []
    assert names(gallery) == {"3"}


def test_a_damaged_version_is_told_of_and_the_former_is_served_and_can_be_changed(
    gallery: GalleryFolder, launch: Launch
) -> None:
    cut_off(publish(gallery, people(range(4))) / "vectors.bin")
    server = launch()
    with Connection(Endpoint(server.until_ready(), retries=0)) as connection:
        assert server.said.startswith("adlens server goes back to version 2 of gallery: ")
        assert server.said.count("\n") == 1
        assert search(connection, 2)[0] == "person-2"
        publish(gallery, people(range(5)))
        assert wait_until(lambda: search(connection, 4)[2].photos == 5)
        assert gallery.wipe_old(10) == []
    assert names(gallery) == {"4"}


def test_a_version_that_was_damaged_while_it_was_served_does_not_keep_triton_down(
    gallery: GalleryFolder, launch: Launch
) -> None:
    server = launch()
    with Connection(Endpoint(server.until_ready(), timeout_s=30)) as connection:
        publish(gallery, people(range(4)))
        assert wait_until(lambda: search(connection, 0)[2].photos == 4)
        turn_a_bit(gallery.folder / "3" / "vectors.bin")
        server.triton.kill()
        assert wait_until(lambda: "serving again" in server.said), server.said
        assert search(connection, 0)[2].photos == 3
    assert "goes back to version 2 of gallery: " in server.said


def test_without_a_sound_version_the_server_says_which_file_and_what_to_do(
    gallery: GalleryFolder, launch: Launch
) -> None:
    for version in gallery.versions():
        cut_off(version / "vectors.bin")
    status, said = launch().end()
    assert status == 3
    assert said.startswith(f"error: gallery gallery: {gallery.folder}/2/vectors.bin is damaged (its checksum")
    assert "make models" in said
    assert said.count("\n") == 1
    manifest = json.loads((gallery.folder / "2" / contract.GALLERY_MANIFEST).read_text())
    assert manifest["sha256"]["vectors.bin"][:16] in said
