import dataclasses
import tarfile

import pytest

from wcrnn_models.errors import UserError
from wcrnn_models.tasks import datasets, download

IMAGES = "train-images-idx3-ubyte.gz"


def cached_files(name="mnist"):
    directory = download.cache_directory() / name
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


@pytest.mark.parametrize(("name", "count"), [("mnist", 4), ("cifar10", 6)])
def test_published_names_and_checksums_are_well_formed(name, count):
    dataset = datasets.DATA_SETS[name]
    checksums = [*dataset.files.values()] + ([dataset.archive.checksum] if dataset.archive else [])
    assert len(dataset.files) == count
    for found in checksums:
        assert len(bytes.fromhex(found.sha256)) == 32
        assert len(bytes.fromhex(found.md5)) == 16
    assert len(set(checksums)) == len(checksums)
    assert all(mirror.startswith("https://") for mirror in dataset.mirrors)


def test_fetch_then_find(small_mnist):
    paths = download.fetch("mnist", [small_mnist.as_uri()])
    assert [path.name for path in paths] == list(datasets.MNIST.files)
    assert cached_files() == sorted(datasets.MNIST.files)
    for path in paths:
        assert path.read_bytes() == (small_mnist / path.name).read_bytes()
        assert download.find_file("mnist", path.name) == path


def test_a_cached_file_is_not_fetched_again(small_mnist):
    download.fetch("mnist", [small_mnist.as_uri() + "/"])
    assert len(download.fetch("mnist", ["file:///nowhere/"])) == 4


def test_mirrors_are_tried_in_order(small_mnist, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / IMAGES).write_bytes(b"not the file")
    paths = download.fetch("mnist", ["file:///nowhere/", broken.as_uri(), small_mnist.as_uri()])
    assert paths[0].read_bytes() == (small_mnist / IMAGES).read_bytes()


def test_the_mirrors_of_the_data_set_are_the_default(small_mnist, monkeypatch):
    here = dataclasses.replace(datasets.DATA_SETS["mnist"], mirrors=(small_mnist.as_uri(),))
    monkeypatch.setitem(datasets.DATA_SETS, "mnist", here)
    assert len(download.fetch("mnist")) == 4


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-5], lambda content: content[:-1] + b"x"],
    ids=["truncated", "altered"],
)
def test_truncated_or_altered_files_are_refused_and_nothing_is_kept(small_mnist, damage):
    path = small_mnist / IMAGES
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=f"no mirror gave {IMAGES}.*hash.*--mirror"):
        download.fetch("mnist", [small_mnist.as_uri()])
    assert cached_files() == []


def test_a_missing_mirror_is_named(small_mnist):
    with pytest.raises(UserError, match=f"no mirror gave {IMAGES} .file:///nowhere: .*No such file"):
        download.fetch("mnist", ["file:///nowhere"])
    with pytest.raises(UserError, match="none was named"):
        download.fetch("mnist", [])
    assert cached_files() == []


def test_a_damaged_file_in_the_cache_is_replaced(small_mnist):
    path = download.fetch("mnist", [small_mnist.as_uri()])[0]
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match=f"{path} has a wrong checksum: .*delete it and run `wcrnn data fetch mnist`"):
        download.find_file("mnist", IMAGES)
    download.fetch("mnist", [small_mnist.as_uri()])
    assert download.find_file("mnist", IMAGES) == path


@pytest.mark.parametrize("folder", [".", "mnist"])
def test_the_data_directory_takes_precedence(small_mnist, tmp_path, monkeypatch, folder):
    download.fetch("mnist", [small_mnist.as_uri()])
    (tmp_path / "data" / folder).mkdir(parents=True)
    path = tmp_path / "data" / folder / IMAGES
    path.write_bytes((small_mnist / IMAGES).read_bytes())
    monkeypatch.setenv("WCRNN_DATA_DIR", str(tmp_path / "data"))
    assert download.find_file("mnist", IMAGES).samefile(path)
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="wrong checksum"):
        download.find_file("mnist", IMAGES)


@pytest.mark.parametrize("root", ["missing", "file"])
def test_a_data_directory_that_is_none_is_named(small_mnist, tmp_path, monkeypatch, root):
    """Even though the cache has the file: a misspelt root must not pass unnoticed."""
    download.fetch("mnist", [small_mnist.as_uri()])
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WCRNN_DATA_DIR", str(tmp_path / root))
    with pytest.raises(UserError, match=f"WCRNN_DATA_DIR is {tmp_path / root}, which is not a directory; set it to"):
        download.find_file("mnist", IMAGES)


def test_both_checksums_are_verified(small_mnist):
    expected = datasets.DATA_SETS["mnist"].files[IMAGES]
    download.verify(small_mnist / IMAGES, expected, "mnist")
    for wrong in (expected._replace(md5="0" * 32), expected._replace(sha256="0" * 64)):
        with pytest.raises(UserError, match="wrong checksum"):
            download.verify(small_mnist / IMAGES, wrong, "mnist")


def test_missing_data_name_the_remedy(small_mnist):
    with pytest.raises(UserError, match="run `wcrnn data fetch mnist`, or set WCRNN_DATA_DIR"):
        download.find_file("mnist", IMAGES)


@pytest.mark.parametrize("call", [download.fetch, download.search_directories], ids=["fetch", "search"])
def test_an_unknown_data_set_is_named(call):
    with pytest.raises(UserError, match=r"must be one of mnist, cifar10, got 'mnst'\. Did you mean 'mnist'"):
        call("mnst")


def test_the_default_cache_is_that_of_the_user(monkeypatch, tmp_path):
    monkeypatch.delenv("WCRNN_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert download.cache_directory().name == "wcrnn"


def test_an_archive_is_unpacked_once(small_cifar10):
    paths = download.fetch("cifar10", [small_cifar10.as_uri()])
    assert cached_files("cifar10") == sorted(datasets.CIFAR10.files)  # and not the archive
    for path in paths:
        assert path.read_bytes() == (small_cifar10 / "cifar-10-batches-py" / path.name).read_bytes()
        assert download.find_file("cifar10", path.name) == path
    assert download.fetch("cifar10", []) == paths  # needs no mirror
    paths[2].write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"no mirror gave cifar-10-python\.tar\.gz"):
        download.fetch("cifar10", [])


def repack(small_cifar10, monkeypatch, checksum, change) -> None:
    """Another archive, whose own checksum is right."""
    path = small_cifar10 / "cifar-10-python.tar.gz"
    change(path)
    dataset = datasets.DATA_SETS["cifar10"]
    archive = dataclasses.replace(dataset.archive, checksum=checksum(path.read_bytes()))
    monkeypatch.setitem(datasets.DATA_SETS, "cifar10", dataclasses.replace(dataset, archive=archive))


def without_a_member(path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        archive.add(path.parent / "cifar-10-batches-py" / "test_batch", "cifar-10-batches-py/test_batch")


def with_a_link(path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        member.type = tarfile.DIRTYPE
        archive.addfile(member)


def with_an_altered_member(path) -> None:
    batch = path.parent / "cifar-10-batches-py" / "data_batch_1"
    batch.write_bytes(batch.read_bytes()[:-1] + b"!")
    with tarfile.open(path, "w:gz") as archive:
        archive.add(batch, "cifar-10-batches-py/data_batch_1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_bytes(b"nothing"), "is not the archive it should be"),
        (lambda path: path.write_bytes(path.read_bytes()[:400]), "is not the archive it should be"),
        (without_a_member, "is not the archive it should be .*data_batch_1.* not found"),
        (with_a_link, "has no regular file cifar-10-batches-py/data_batch_1"),
        (with_an_altered_member, "data_batch_1 in .* has a wrong checksum"),
    ],
    ids=["no archive", "truncated", "member", "folder", "altered"],
)
def test_a_wrong_archive_gives_nothing(small_cifar10, monkeypatch, checksum, change, message):
    repack(small_cifar10, monkeypatch, checksum, change)
    with pytest.raises(UserError, match=message):
        download.fetch("cifar10", [small_cifar10.as_uri()])
    assert not set(cached_files("cifar10")) & set(datasets.CIFAR10.files)


@pytest.mark.parametrize("folder", [".", "cifar10", "cifar-10-batches-py", "cifar10/cifar-10-batches-py"])
def test_pictures_are_found_where_torchvision_has_them(small_cifar10, tmp_path, monkeypatch, folder):
    (tmp_path / "data" / folder).mkdir(parents=True)
    path = tmp_path / "data" / folder / "test_batch"
    path.write_bytes((small_cifar10 / "cifar-10-batches-py" / "test_batch").read_bytes())
    monkeypatch.setenv("WCRNN_DATA_DIR", str(tmp_path / "data"))
    assert download.find_file("cifar10", "test_batch").samefile(path)
