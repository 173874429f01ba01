"""Galleries on disk: whole or not at all, checked when read, and gone when removed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adlens import contract, errors, filters
from adlens.galleries.contents import Contents
from adlens.galleries.files import GalleryFolder
from adlens.galleries.journal import Journal
from adlens.galleries.records import Embedding, Record
from tests.client.vectors import DIMENSION, people, unit

EMPTY = Contents.empty("dlib", DIMENSION)


def of(count: int) -> Contents:
    return EMPTY.with_records(people(count), "w1", replace_ids=False)


def publish(gallery: GalleryFolder, contents: Contents) -> Path:
    with gallery.locked():
        return gallery.publish(contents)


def same(some: Contents, other: Contents) -> bool:
    return (
        np.array_equal(some.vectors, other.vectors) and some.card == other.card and some.paths == other.paths
    )


@pytest.fixture
def gallery(tmp_path: Path) -> GalleryFolder:
    """A gallery of 300 people."""
    found = GalleryFolder(tmp_path / "gallery")
    publish(found, of(300))
    return found


class TestRecord:
    """What cannot be found, or cannot travel, is refused."""

    @pytest.mark.parametrize(
        "vector",
        [unit(1)[0] * 1.01, unit(1)[0] * np.nan, unit(1)[0] * 0, np.full(DIMENSION, np.inf), unit(2)],
        ids=["too long", "NaN", "zero", "infinite", "two"],
    )
    def test_a_vector_that_is_no_embedding(self, vector: np.ndarray) -> None:
        with pytest.raises(errors.BadRecord, match="photo 'x': its vector has shape"):
            Record("x", vector)

    @pytest.mark.parametrize("id_", ["", "x" * 65, "ä" * 33, "a\nb", "a\0", "\x7f", "\udcff"])
    def test_an_id_that_cannot_travel(self, id_: str) -> None:
        with pytest.raises(errors.BadRecord, match=r"^id "):
            Record(id_, unit(1)[0])

    @pytest.mark.parametrize("name", ["", "a=b", "id", "path"])
    def test_an_attribute_that_cannot_be_asked_for(self, name: str) -> None:
        with pytest.raises(errors.BadRecord, match=r"^attribute "):
            Record("x", unit(1)[0], {name: "value"})

    @pytest.mark.parametrize("attributes", [{"folder": "caf\udce9"}, {"caf\udce9": "x"}])
    def test_an_attribute_that_is_no_text(self, attributes: dict[str, str]) -> None:
        with pytest.raises(errors.BadRecord, match=r"udce9' has a character that is no text"):
            Record("x", unit(1)[0], attributes)
        with pytest.raises(errors.BadFilter, match="that is no UTF-8"):
            filters.encode(attributes)

    def test_more_attributes_than_a_filter_can_use(self) -> None:
        with pytest.raises(errors.BadRecord, match=r"9 attributes .* at most 8"):
            Record("x", unit(1)[0], {f"a{number}": "" for number in range(9)})


class TestContents:
    """What is added and removed."""

    def test_an_id_that_is_there_is_refused_with_both_photos(self) -> None:
        again = replace(people(1)[0], path="/other.jpg")
        with pytest.raises(
            errors.DuplicateId, match=r"'person-0' is in the gallery, of /photos/0.jpg.*/other.jpg"
        ):
            of(3).with_records([again], "w1", replace_ids=False)

    @pytest.mark.parametrize("replace_ids", [False, True])
    def test_two_new_photos_of_one_id_are_refused(self, replace_ids: bool) -> None:
        twins = [replace(people(1)[0], path=path) for path in ("/a.jpg", "/b.jpg")]
        with pytest.raises(errors.DuplicateId, match=r"'person-0' is that of two photos, /a.jpg and /b.jpg"):
            EMPTY.with_records(twins, "w1", replace_ids=replace_ids)

    def test_an_id_is_replaced_where_that_is_asked_for(self) -> None:
        new = Record("person-1", unit(1, seed=9)[0], {"hair": "blue"}, "/new.jpg")
        found = of(3).with_records([new], "w1", replace_ids=True)
        assert found.ids == ("person-0", "person-2", "person-1")
        assert found.paths[2] == "/new.jpg"
        assert found.attributes_of(2) == {"hair": "blue", "season": ""}
        np.testing.assert_array_equal(found.vectors[2], new.vector)

    def test_vectors_of_other_weights_are_refused_by_name(self) -> None:
        with pytest.raises(
            errors.WrongEmbedder, match=r"made by dlib with weights w1, and these .* weights w2"
        ):
            of(3).with_records([Record("x", unit(1)[0])], "w2", replace_ids=False)

    def test_vectors_of_another_dimension_are_refused(self) -> None:
        vector = np.eye(512, dtype=np.float32)[0]
        with pytest.raises(errors.WrongEmbedder, match=r"has 512 numbers; .* of dlib have 128"):
            of(3).with_records([Record("x", vector)], "w1", replace_ids=False)

    def test_a_gallery_of_which_all_is_replaced_may_change_its_embedder(self) -> None:
        assert of(3).with_records(people(3), "w2", replace_ids=True).embedder_weights == "w2"

    def test_attributes_come_together_and_are_limited(self) -> None:
        vectors = unit(8, seed=4)
        found = of(2)
        for number in range(6):
            found = found.with_records([Record(f"x{number}", vectors[number], {f"a{number}": "v"})], "w1",
                                       replace_ids=False)  # fmt: skip
        assert found.attributes == ("hair", "season", *(f"a{number}" for number in range(6)))
        assert found.attributes_of(0)["a5"] == ""
        with pytest.raises(errors.BadRecord, match="9 attributes"):
            found.with_records([Record("y", vectors[7], {"one more": "v"})], "w1", replace_ids=False)
        with pytest.raises(errors.BadRecord, match="too long to travel"):
            of(2).with_records([Record("y", vectors[7], {"long" * 600: "v"})], "w1", replace_ids=False)

    def test_the_digest_tells_vectors_ids_and_attributes_apart(self) -> None:
        changed = [
            of(3),
            of(4),
            of(3).with_records([replace(people(1)[0], attributes={})], "w1", replace_ids=True),
            of(3).with_records([replace(people(1)[0], id="other")], "w1", replace_ids=True),
            of(3).with_records([Record("person-0", unit(1, seed=5)[0])], "w1", replace_ids=True),
        ]
        assert len({contents.digest for contents in changed}) == len(changed)
        assert of(3).digest == of(3).digest


class TestFolder:
    """Versions on disk."""

    def test_what_was_published_is_read_again(self, gallery: GalleryFolder) -> None:
        assert same(gallery.read(), of(300))
        odd = [Record('a,b"c', unit(1)[0], {'colour, "free"': "line 1\r\nline 2; ü"}, "/a b,c.jpg")]
        contents = EMPTY.with_records(odd, "w1", replace_ids=False)
        publish(gallery, contents)
        assert same(gallery.read(), contents)
        assert gallery.read().values == contents.values

    def test_an_empty_gallery_is_made_only_where_there_is_none(
        self, gallery: GalleryFolder, tmp_path: Path
    ) -> None:
        new = GalleryFolder(tmp_path / "new")
        assert new.ensure("dlib", DIMENSION)
        assert new.read().ids == ()
        assert new.manifest().dimension == DIMENSION
        assert not gallery.ensure("dlib", DIMENSION)
        assert same(gallery.read(), of(300))

    def test_there_is_no_gallery_where_there_is_no_version(self, tmp_path: Path) -> None:
        with pytest.raises(errors.InvalidConfiguration, match="holds no gallery; check the path"):
            GalleryFolder(tmp_path).read()

    @pytest.mark.parametrize("name", ["vectors.bin", "ids.bin", "groups.bin", "model.onnx", "photos.csv"])
    @pytest.mark.parametrize("damage", ["a bit", "the end", "all of it"])
    def test_damage_is_found(self, gallery: GalleryFolder, name: str, damage: str) -> None:
        file = gallery.versions()[0] / name
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        if damage == "all of it":
            file.unlink()
        else:
            file.write_bytes(data if damage == "a bit" else data[:-1])
        with pytest.raises(
            errors.CorruptGallery, match=f"{name} is damaged .*restore the folder from a copy"
        ):
            gallery.read()

    @pytest.mark.parametrize("manifest", ["", "[]", '{"format": 1}', '{"format": 1, "attributes": []}'])
    def test_a_damaged_manifest_is_found(self, gallery: GalleryFolder, manifest: str) -> None:
        (gallery.versions()[0] / contract.GALLERY_MANIFEST).write_text(manifest)
        with pytest.raises(errors.CorruptGallery, match=r"gallery.json is damaged"):
            gallery.read()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"dimension": "128"}, {"dimension": 0}, {"dimension": 100}, {"photos": 299}, {"photos": None},
            {"attributes": ["hair"]}, {"sha256": {}}, {"sha256": []}, {"origin": "another"}, {"digest": ""},
        ],
        ids=str,
    )  # fmt: skip
    def test_a_manifest_that_does_not_fit_its_files_is_found(
        self, gallery: GalleryFolder, wrong: dict[str, object]
    ) -> None:
        file = gallery.versions()[0] / contract.GALLERY_MANIFEST
        file.write_text(json.dumps(json.loads(file.read_text()) | wrong))
        with pytest.raises(errors.CorruptGallery, match=r"gallery.json is damaged"):
            gallery.read()

    def test_the_name_of_a_file_need_not_be_text(self, gallery: GalleryFolder) -> None:
        photo = Record("x", unit(1)[0], {}, os.fsdecode(b"/caf\xe9.jpg"))
        publish(gallery, gallery.read().with_records([photo], "w1", replace_ids=False))
        assert gallery.paths()["x"] == photo.path
        assert gallery.read().paths[300] == photo.path

    def test_a_gallery_of_a_newer_adlens_is_not_misread(self, gallery: GalleryFolder) -> None:
        file = gallery.versions()[0] / contract.GALLERY_MANIFEST
        file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 2, "more": []}))
        with pytest.raises(errors.CorruptGallery, match="format 2; this adlens reads 1"):
            gallery.read()

    def test_two_writers_exclude_each_other(self, gallery: GalleryFolder) -> None:
        with gallery.locked():
            with pytest.raises(errors.GalleryBusy, match="another program is changing"), gallery.locked():
                pytest.fail("two writers at once")
            gallery.publish(of(2))
        publish(gallery, of(1))
        assert same(gallery.read(), of(1))

    def test_the_lock_of_a_killed_writer_is_gone(self, gallery: GalleryFolder) -> None:
        writer = killed_while(gallery, "sys.stdin.read()")
        assert writer == -signal.SIGKILL
        publish(gallery, of(1))

    @pytest.mark.parametrize("at", ["os.fsync", "Path.rename"])
    def test_a_crash_before_the_rename_leaves_the_old_gallery(self, gallery: GalleryFolder, at: str) -> None:
        writer = killed_while(gallery, f"{at} = lambda *_: os.kill(os.getpid(), signal.SIGKILL); change()")
        assert writer == -signal.SIGKILL
        assert same(gallery.read(), of(300))
        assert list(gallery.folder.glob(".new-*"))
        with gallery.locked():
            assert not list(gallery.folder.glob(".new-*"))
        assert same(gallery.read(), of(300))

    def test_a_failure_while_writing_leaves_the_old_gallery(
        self, gallery: GalleryFolder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        with gallery.locked(), monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            # The disk is full, so that not even zeros can be brought to it.
            with pytest.raises(errors.GalleryError, match=r"cannot be written to.*No space left"):
                gallery.publish(of(1))
        assert same(gallery.read(), of(300))

    def test_an_old_version_is_wiped_before_it_is_unlinked(
        self, gallery: GalleryFolder, tmp_path: Path
    ) -> None:
        old = gallery.versions()[0]
        links = {}
        for file in old.iterdir():  # a second name for each file, by which to see its bytes afterwards
            links[file.name] = tmp_path / file.name
            os.link(file, links[file.name])
        assert links.keys() >= {"vectors.bin", "ids.bin", "groups.bin", "photos.csv", "gallery.json"}
        with gallery.locked():
            gallery.publish(of(1))
            assert gallery.wipe_old(0) == []
        assert not old.exists()
        assert [entry.name for entry in gallery.folder.iterdir() if entry.is_dir()] == ["2"]
        for link in links.values():
            assert link.stat().st_size > 0
            assert not any(link.read_bytes()), link.name

    def test_a_version_that_is_in_use_is_not_wiped(self, gallery: GalleryFolder) -> None:
        old = gallery.versions()[0]
        held = np.memmap(old / "vectors.bin", np.float32, "r")
        with gallery.locked():
            gallery.publish(of(1))
            assert gallery.wipe_old(0.1) == [old]
            assert held.any()
            del held
            assert gallery.wipe_old(0.1) == []

    def test_a_reader_is_not_disturbed_by_a_writer(self, gallery: GalleryFolder) -> None:
        """Who has begun to read a version that is wiped meanwhile reads the next one."""
        old = gallery.versions()[0]
        shutil.copytree(old, gallery.folder / "2")
        (old / "vectors.bin").write_bytes(b"")
        assert same(gallery.read(), of(300))


class TestJournal:
    """Embeddings on their way."""

    def test_only_its_user_reads_it_and_a_server_of_any_user_reads_the_versions(self, tmp_path: Path) -> None:
        gallery = GalleryFolder(tmp_path)
        for mask in (0o000, 0o077):
            before = os.umask(mask)
            try:
                version = publish(gallery, of(1))
                journal = Journal(tmp_path)
                journal.append("a", "", Embedding(unit(1)[0]))
                journal.append("b", "", Embedding(unit(1)[0]))
                journal.forget(["a"])
            finally:
                os.umask(before)
            assert (tmp_path / ".journal").stat().st_mode & 0o777 == 0o600
            assert version.stat().st_mode & 0o777 == 0o755
            assert {file.stat().st_mode & 0o777 for file in version.iterdir()} == {0o644}
            journal.clear()

    def test_entries_are_read_again_but_for_those_of_other_weights(self, tmp_path: Path) -> None:
        one, two = unit(2)
        Journal(tmp_path, "w1").append("a", "stamp", Embedding(one))
        Journal(tmp_path, "w2").append("a", "stamp", Embedding(two))
        found = Journal(tmp_path, "w1").read()
        assert found.keys() == {("a", "stamp")}
        np.testing.assert_array_equal(found["a", "stamp"].vector, one)
        assert found["a", "stamp"].payload.size == 0

    @pytest.mark.parametrize("lost", [1, 10, 400])
    def test_a_torn_last_line_is_left_out_and_harms_no_further_one(self, tmp_path: Path, lost: int) -> None:
        journal = Journal(tmp_path, "w1")
        for number, vector in enumerate(unit(3)):
            journal.append(f"p{number}", "", Embedding(vector))
        file = tmp_path / ".journal"
        os.truncate(file, file.stat().st_size - lost)
        journal.append("p3", "", Embedding(unit(1)[0]))
        assert [id_ for id_, _ in journal.read()] == ["p0", "p1", "p3"]

    def test_what_is_forgotten_is_in_no_file(self, tmp_path: Path) -> None:
        journal = Journal(tmp_path, "w1")
        for number, vector in enumerate(unit(3)):
            journal.append(f"p{number}", "", Embedding(vector))
        file, link = tmp_path / ".journal", tmp_path / "link"
        os.link(file, link)
        journal.forget(["p1"])
        assert [id_ for id_, _ in journal.read()] == ["p0", "p2"]
        assert b"p1" not in file.read_bytes()
        assert not any(link.read_bytes())
        journal.clear()
        assert not file.exists()


def killed_while(gallery: GalleryFolder, doing: str) -> int:
    """Exit status of a program that is killed while it holds the lock and is ``doing`` something."""
    program = textwrap.dedent(f"""
        import os, signal, sys
        from pathlib import Path
        from tests.client.test_galleries import of
        from adlens.galleries.files import GalleryFolder
        gallery = GalleryFolder(Path({str(gallery.folder)!r}))
        def change():
            gallery.publish(of(5))
        with gallery.locked():
            print("locked", flush=True)
            {doing}
    """)
    checkout = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=checkout, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"locked\n"
        if "kill" not in doing:
            writer.kill()
        return writer.wait(20)


def test_galleries_that_hold_the_same_are_told_apart() -> None:
    """Or a server of one empty gallery would be taken for one of another."""
    assert Contents.empty("dlib", DIMENSION).digest != Contents.empty("dlib", DIMENSION).digest
