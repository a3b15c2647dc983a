"""Archives: members in reading order, and hostile ones that neither write, nor expand, nor stop a build without a word."""

import gzip
import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwen.corpus import archives
from kwen.corpus.archives import Entry, Refused, clean_label, entries, natural_key
from kwen.errors import UserError


def write_tar(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> None:
    """A tar of files (bytes) and of anything else (a TarInfo), compressed where the name says so."""
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name) if isinstance(content, bytes) else content
            if isinstance(content, bytes):
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.name = name
                tar.addfile(info)


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


def everything(root: Path) -> dict[str, bytes | str]:
    """Label -> content, or the reason for leaving it out."""
    return {
        entry.label: entry.reason if isinstance(entry, Refused) else entry.stream.read()
        for entry in entries(root, lambda label: True)
    }


@pytest.mark.parametrize("name", ["book.tar", "book.tar.gz", "book.tgz", "book.zip"])
def test_members_come_in_reading_order(tmp_path: Path, name: str) -> None:
    members = {f"text/chapter-{i}.txt": str(i).encode() for i in (10, 9, 1, 2, 11)}
    (write_zip if name.endswith("zip") else write_tar)(tmp_path / name, members)  # type: ignore[operator]
    assert list(everything(tmp_path).items()) == [(f"{name}/text/chapter-{i}.txt", str(i).encode()) for i in (1, 2, 9, 10, 11)]
    assert all(entry.file == name for entry in entries(tmp_path, lambda label: True) if isinstance(entry, Entry))


def test_a_folder_mixes_files_and_archives_and_a_single_file_is_a_source_too(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "note.txt").write_bytes(b"note")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config.txt").write_bytes(b"hidden")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(b"packed"))
    write_tar(tmp_path / "a.tar.gz", {"x.md": b"x"})
    assert list(everything(tmp_path).items()) == [("a.tar.gz/x.md", b"x"), ("b/note.txt", b"note"), ("c.txt.gz", b"packed")]
    assert everything(tmp_path / "c.txt.gz") == {"c.txt.gz": b"packed"}
    assert everything(tmp_path / "a.tar.gz") == {"a.tar.gz/x.md": b"x"}


def test_traversal_names_are_only_labels(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    write_tar(source / "evil.tar.gz", {"../../escape.txt": b"a", "/etc/passwd.txt": b"b", "ok/\x1b[31m\udcff.txt": b"c"})
    write_zip(source / "evil.zip", {"..\\..\\escape.txt": b"d", "../up.txt": b"e"})
    before = sorted(path for path in tmp_path.rglob("*"))
    found = everything(source)
    assert found["evil.tar.gz/escape.txt"] == b"a"
    assert found["evil.tar.gz/etc/passwd.txt"] == b"b"
    assert found["evil.zip/escape.txt"] == b"d"
    assert found["evil.zip/up.txt"] == b"e"
    assert sorted(path for path in tmp_path.rglob("*")) == before
    for label in found:
        label.encode()


@given(st.text(st.characters(), min_size=1))
def test_labels_are_relative_printable_and_utf8(name: str) -> None:
    label = clean_label(name)
    label.encode()
    assert label and not label.startswith("/") and ".." not in label.split("/") and label.isprintable()


def test_links_and_devices_are_left_out_and_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_bytes(b"secret")
    source = tmp_path / "source"
    source.mkdir()
    os.symlink(secret, source / "link.txt")
    link, device = tarfile.TarInfo(), tarfile.TarInfo()
    link.type, link.linkname = tarfile.SYMTYPE, str(secret)
    device.type = tarfile.CHRTYPE
    write_tar(source / "a.tar", {"link.txt": link, "device.txt": device})
    with zipfile.ZipFile(source / "b.zip", "w") as archive:
        info = zipfile.ZipInfo("link.txt")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, str(secret))
    assert everything(source) == dict.fromkeys(
        ["a.tar/device.txt", "a.tar/link.txt", "b.zip/link.txt", "link.txt"], "not a regular file"
    )


@pytest.fixture
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real bounds, scaled down so that a bomb of a megabyte shows them."""
    monkeypatch.setattr(archives, "FREE_EXPANSION", 1 << 16)


@pytest.mark.parametrize("name", ["bomb.tar.gz", "bomb.zip", "bomb.txt.gz"])
def test_a_bomb_is_refused_by_name(tmp_path: Path, small_bounds: None, name: str) -> None:
    path, zeros = tmp_path / name, bytes(4 << 20)
    if name.endswith("zip"):
        write_zip(path, {"a.txt": zeros})
    elif name.endswith("tar.gz"):
        write_tar(path, {"a.txt": zeros})
    else:
        path.write_bytes(gzip.compress(zeros))
    with pytest.raises(UserError, match=name):
        everything(tmp_path)


def test_a_zip_that_lies_about_its_sizes_is_bounded_all_the_same(tmp_path: Path, small_bounds: None) -> None:
    path = tmp_path / "lies.zip"
    write_zip(path, {"a.txt": bytes(4 << 20)})
    true_size = (4 << 20).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(true_size, (100).to_bytes(4, "little")))
    with pytest.raises(UserError, match=r"lies\.zip"):
        everything(tmp_path)


def test_many_members_share_one_budget(tmp_path: Path, small_bounds: None) -> None:
    write_zip(tmp_path / "many.zip", {f"{i}.txt": bytes(1 << 20) for i in range(8)})
    with pytest.raises(UserError, match=r"many\.zip"):
        everything(tmp_path)


def test_a_member_too_large_is_left_out_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_FILE_BYTES", 1000)
    write_tar(tmp_path / "a.tar.gz", {"large.txt": b"x" * 2000, "small.txt": b"x"})
    assert everything(tmp_path) == {"a.tar.gz/large.txt": "larger than 256 MiB", "a.tar.gz/small.txt": b"x"}


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tar", "a.zip", "a.txt.gz"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "nonsense"])
def test_a_damaged_archive_is_one_line_that_names_it(tmp_path: Path, name: str, damage: str) -> None:
    path, content = tmp_path / name, os.urandom(20_000)
    if name.endswith("zip"):
        write_zip(path, {"x.txt": content})
    elif "tar" in name:
        write_tar(path, {"x.txt": content})
    else:
        path.write_bytes(gzip.compress(content))
    data = path.read_bytes()
    if damage == "cut":
        data = data[:9000]
    elif damage == "flipped":
        # A plain tar has a checksum over its headers only.
        at = 0 if name == "a.tar" else 8000
        data = data[:at] + bytes(255 - byte for byte in data[at : at + 100]) + data[at + 100 :]
    else:
        data = b"this is no archive at all" * 100
    path.write_bytes(data)
    with pytest.raises(UserError, match=name) as refused:
        everything(tmp_path)
    assert "\n" not in str(refused.value)


def test_encrypted_members_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write_zip(path, {"x.txt": b"x"})
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    assert everything(tmp_path) == {"a.zip/x.txt": "encrypted"}


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="absent"):
        everything(tmp_path / "absent")


@given(st.lists(st.text("a0129-", max_size=6)))
def test_natural_order_is_total(names: list[str]) -> None:
    assert sorted(sorted(names), key=natural_key) == sorted(sorted(names, reverse=True), key=natural_key)


def test_a_name_of_many_digits_sorts_too() -> None:
    assert natural_key("9" * 10_000) > natural_key("9")
