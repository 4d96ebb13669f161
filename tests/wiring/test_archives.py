"""Archives from people that nobody knows."""

import gzip
import io
import os
import random
import stat
import tarfile
import zipfile

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as drawn
from hypothesis import strategies as st

from autopeft.errors import DataError
from autopeft.wiring.archives import Bounds, is_archive, unpacked

PETS = {"cat/1.png": b"a", "cat/2.JPG": b"bb", "dog/1.png": b"ccc"}
KINDS = ("zip", "tar.gz")


def zipped(place, members, packing=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(place, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return place


def tarred(place, members):
    with tarfile.open(place, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return place


def archived(folder, kind, members):
    place = folder / f"data.{kind}"
    return zipped(place, members) if kind == "zip" else tarred(place, members)


def unpack(archive, **bounds):
    return unpacked(archive, archive.parent / "unpacked", Bounds(**bounds))


def files(folder):
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def refused(archive, match, **bounds):
    """Expect that nothing of an archive is kept, and nothing written beside it."""
    top = archive.parent.parent
    before = sorted(top.rglob("*"))
    with pytest.raises(DataError, match=match):
        unpack(archive, **bounds)
    assert sorted(top.rglob("*")) == before


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "dataset"
    made.mkdir()
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_unpacked_and_all_else_is_left(folder, kind):
    others = {
        "cat/notes.txt": b"x",
        "__MACOSX/cat/._1.png": b"x",
        "run.py": b"x",
        ".git/a.png": b"",
    }
    found = unpack(archived(folder, kind, PETS | others))

    assert files(found) == PETS
    assert all(stat.S_IMODE(f.stat().st_mode) & 0o111 == 0 for f in found.rglob("*.png"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_around_all_others_is_left_out(folder, kind):
    wrapped = {f"pets/{name}": content for name, content in PETS.items()}

    assert files(unpack(archived(folder, kind, wrapped))) == PETS


@pytest.mark.parametrize("kind", KINDS)
def test_one_class_alone_is_no_folder_around_others(folder, kind):
    assert files(unpack(archived(folder, kind, {"cat/1.png": b"a"}))) == {"cat/1.png": b"a"}


def test_unpacking_again_changes_nothing_and_an_unfinished_one_is_begun_anew(folder):
    archive = archived(folder, "zip", PETS)
    (folder / "unpacked.part/rest").mkdir(parents=True)
    found = unpack(archive)
    archive.write_bytes(b"broken")

    assert files(unpack(archive)) == files(found) == PETS
    assert not (folder / "unpacked.part").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name",
    [
        *("/etc/x.png", "../x.png", "cat/../../x.png", "cat/../x.png", "..", "\\..\\x.png"),
        *(
            "C:/x.png",
            "C:x.png",
            "a\nb.png",
            "a\u202e.png",
            "a" * 250 + ".png",
            "a/" * 20 + "x.png",
        ),
    ],
)
def test_a_name_that_leads_elsewhere_refuses_the_whole(folder, kind, name):
    archive = archived(folder, kind, {"cat/1.png": b"a", name: b"b"})

    refused(archive, r"data\.\S+ is refused: its '")


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_that_is_there_twice_is_refused(folder, kind):
    if kind == "zip":
        with zipfile.ZipFile(folder / "data.zip", "w") as archive:
            archive.writestr("cat/1.png", b"a")
            archive.filelist[0].filename = "cat/2.png"  # or the library would warn of it
            archive.NameToInfo.clear()
            archive.writestr("cat/1.png", b"b")
            archive.filelist[0].filename = "cat/1.png"
    else:
        with tarfile.open(folder / "data.tar.gz", "w:gz") as archive:
            for _ in range(2):
                member = tarfile.TarInfo("cat/1.png")
                member.size = 1
                archive.addfile(member, io.BytesIO(b"a"))
    refused(folder / f"data.{kind}", "in it twice")


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_is_also_a_folder_is_refused(folder, kind):
    refused(archived(folder, kind, {"a.png": b"x", "a.png/b.png": b"y"}), "in it twice")


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE],
)
def test_links_and_devices_in_a_tar_are_refused(folder, kind):
    with tarfile.open(folder / "data.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("cat/1.png")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    refused(folder / "data.tar.gz", "is a link, a device or a sparse file")


def test_a_link_in_a_zip_is_refused(folder):
    with zipfile.ZipFile(folder / "data.zip", "w") as archive:
        info = zipfile.ZipInfo("cat")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc")
        archive.writestr("cat/1.png", b"x")
    refused(folder / "data.zip", "is a link or a device")


def test_an_encrypted_zip_is_refused(folder):
    archive = archived(folder, "zip", {"cat/1.png": b"a"})
    content = bytearray(archive.read_bytes())
    place = content.rindex(b"PK\1\2")
    content[place + 8] |= 1
    archive.write_bytes(content)
    refused(archive, "is encrypted, or packed in a rare way")


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_that_is_packed_in_a_rare_way_is_refused(folder, packing):
    refused(zipped(folder / "data.zip", PETS, packing), "packed in a rare way")


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_is_refused_by_its_ratio(folder, kind):
    archive = archived(folder, kind, {f"cat/{n}.png": bytes(2**20) for n in range(20)})

    assert archive.stat().st_size < 50_000
    refused(archive, "unpacks to far more than its own size", ratio=10, free=2**20)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bomb_that_hides_in_what_is_no_image_is_refused_or_not_unpacked(folder, kind):
    archive = archived(folder, kind, {"a.txt": bytes(20 * 2**20)} | PETS)

    if kind == "zip":
        assert files(unpack(archive, ratio=10, free=2**20)) == PETS
    else:  # whatever is in a tar has to be unpacked to come by it
        refused(archive, "unpacks to far more than its own size", ratio=10, free=2**20)


@pytest.mark.parametrize("kind", KINDS)
def test_the_total_the_single_file_and_their_number_are_bounded(folder, kind):
    noise = random.Random(0).randbytes(10_000)
    archive = archived(folder, kind, {f"cat/{n}.png": noise for n in range(5)})

    refused(archive, "or to more than 0 MiB", total=40_000)
    refused(archive, "has more than 0 MiB; make the image smaller", single=9_999)
    refused(archive, "holds more than 4 files; split it", files=4)
    assert len(files(unpack(archive, files=5, single=10_000))) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_image_is_refused_before_the_others_are_unpacked(folder, kind):
    archive = archived(folder, kind, {f"cats/{number}.png": b"" for number in range(9)})

    refused(archive, r"its 0\.png is empty; repair or remove it")


@pytest.mark.parametrize("kind", KINDS)
def test_folders_count_as_members_too(folder, kind):
    if kind == "zip":
        archive = zipped(folder / "data.zip", {f"{n}/": b"" for n in range(20)})
    else:
        archive = folder / "data.tar.gz"
        with tarfile.open(archive, "w:gz") as written:
            for n in range(20):
                info = tarfile.TarInfo(str(n))
                info.type = tarfile.DIRTYPE
                written.addfile(info)
    refused(archive, "holds more than 10 files", files=10)


def test_a_zip_that_lies_about_its_sizes_is_refused_at_what_comes_out(folder):
    archive = zipped(folder / "data.zip", {"cat/1.png": bytes(5 * 2**20)})
    content = bytearray(archive.read_bytes())
    place = content.rindex(b"PK\1\2")
    content[place + 24 : place + 28] = (10).to_bytes(4, "little")
    archive.write_bytes(content)

    refused(archive, "cannot unpack|far more than its own size", free=2**20, ratio=1)


def test_a_long_list_of_files_is_not_read_at_once(folder):
    archive = zipped(folder / "data.zip", {f"{n}.txt": b"" for n in range(2_000)})

    refused(archive, "its list of files, or a name, is too long", at_once=50_000)


def test_a_huge_name_in_a_tar_is_not_read_at_once(folder):
    with tarfile.open(folder / "data.tar.gz", "w:gz", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("a" * 5_000_000))

    refused(folder / "data.tar.gz", "its list of files, or a name, is too long", at_once=2**20)


def test_a_sparse_file_in_a_tar_is_refused(folder):
    info = tarfile.TarInfo("cat/1.png")
    info.size = 0
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = tarfile.GNUTYPE_SPARSE
    header[483:495] = b"77777777777\0"
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header[:512]):06o}\0 ".encode()
    with gzip.open(folder / "data.tar.gz", "wb") as written:
        written.write(bytes(header) + bytes(1024))

    refused(folder / "data.tar.gz", "a sparse file")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [b"", b"PK", b"x" * 1000, b"\x1f\x8b", b"PK\5\6" + bytes(18)])
def test_what_is_no_archive_is_told_or_empty(folder, kind, content):
    archive = folder / f"data.{kind}"
    archive.write_bytes(content)
    try:
        found = unpack(archive)
    except DataError as error:
        assert "cannot unpack data." in str(error)  # noqa: PT017  # an empty archive is one too
    else:
        assert files(found) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_is_cut_off_is_told(folder, kind):
    noise = random.Random(0).randbytes(10_000)
    archive = archived(folder, kind, {f"cat/{n}.png": noise for n in range(5)})
    archive.write_bytes(archive.read_bytes()[:-20_000])

    refused(archive, r"cannot unpack data\.\S+ .*make the archive anew")


def test_a_full_disk_is_no_fault_of_the_archive(folder, monkeypatch):
    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    archive = archived(folder, "zip", PETS)
    monkeypatch.setattr("autopeft.wiring.archives._fresh", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(archive)
    assert sorted(os.listdir(folder)) == ["data.zip"]  # noqa: PTH208


@given(data=st.data())
@drawn(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_that_was_tampered_with_is_unpacked_or_refused(tmp_path_factory, kind, data):
    folder = tmp_path_factory.mktemp("fuzz") / "dataset"
    folder.mkdir()
    archive = archived(folder, kind, PETS)
    content = bytearray(archive.read_bytes())
    if kind == "tar.gz" and data.draw(st.booleans()):
        content = bytearray(gzip.decompress(content))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    archive.write_bytes(content if content[:2] != b"ca" else gzip.compress(content))
    try:
        found = unpack(archive)
    except DataError:
        assert sorted(path.name for path in folder.parent.rglob("*")) == [archive.name, "dataset"]
    else:
        assert all(not path.is_symlink() for path in found.rglob("*"))


def test_archives_are_known_by_their_ending():
    assert [is_archive(name) for name in ("a.ZIP", "a.tar.gz", "a.tgz", "a.tar", "a.gz")] == [
        *(True, True, True, False, False)
    ]
