import pytest

from wcrnn_models.errors import UserError
from wcrnn_models.tasks import download

IMAGES = "train-images-idx3-ubyte.gz"


def cached_files():
    directory = download.cache_directory() / "mnist"
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def test_published_names_and_checksums_are_well_formed():
    assert len(download.MNIST_FILES) == 4
    assert {len(checksum.sha256) for checksum in download.MNIST_FILES.values()} == {64}
    assert {len(checksum.md5) for checksum in download.MNIST_FILES.values()} == {32}
    assert all(mirror.startswith("https://") for mirror in download.MNIST_MIRRORS)


def test_fetch_then_find(small_mnist):
    paths = download.fetch_mnist([small_mnist.as_uri()])
    assert [path.name for path in paths] == list(download.MNIST_FILES)
    assert cached_files() == sorted(download.MNIST_FILES)
    for path in paths:
        assert path.read_bytes() == (small_mnist / path.name).read_bytes()
        assert download.find_mnist_file(path.name) == path


def test_a_cached_file_is_not_fetched_again(small_mnist):
    download.fetch_mnist([small_mnist.as_uri() + "/"])
    assert len(download.fetch_mnist(["file:///nowhere/"])) == 4


def test_mirrors_are_tried_in_order(small_mnist, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / IMAGES).write_bytes(b"not the file")
    paths = download.fetch_mnist(["file:///nowhere/", broken.as_uri(), small_mnist.as_uri()])
    assert paths[0].read_bytes() == (small_mnist / IMAGES).read_bytes()


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[:-5], lambda content: content[:-1] + b"x"],
    ids=["truncated", "altered"],
)
def test_truncated_or_altered_files_are_refused_and_nothing_is_kept(small_mnist, damage):
    path = small_mnist / IMAGES
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=f"no mirror gave {IMAGES}.*hash.*--mirror"):
        download.fetch_mnist([small_mnist.as_uri()])
    assert cached_files() == []


def test_a_missing_mirror_is_named(small_mnist):
    with pytest.raises(UserError, match=f"no mirror gave {IMAGES} .file:///nowhere: .*No such file"):
        download.fetch_mnist(["file:///nowhere"])
    with pytest.raises(UserError, match="none was named"):
        download.fetch_mnist([])
    assert cached_files() == []


def test_a_damaged_file_in_the_cache_is_replaced(small_mnist):
    path = download.fetch_mnist([small_mnist.as_uri()])[0]
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match=f"{path} has a wrong checksum: .*delete it and run `wcrnn data fetch mnist`"):
        download.find_mnist_file(IMAGES)
    download.fetch_mnist([small_mnist.as_uri()])
    assert download.find_mnist_file(IMAGES) == path


@pytest.mark.parametrize("folder", [".", "mnist"])
def test_the_data_directory_takes_precedence(small_mnist, tmp_path, monkeypatch, folder):
    download.fetch_mnist([small_mnist.as_uri()])
    (tmp_path / "data" / folder).mkdir(parents=True)
    path = tmp_path / "data" / folder / IMAGES
    path.write_bytes((small_mnist / IMAGES).read_bytes())
    monkeypatch.setenv("WCRNN_DATA_DIR", str(tmp_path / "data"))
    assert download.find_mnist_file(IMAGES).samefile(path)
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="wrong checksum"):
        download.find_mnist_file(IMAGES)


def test_both_checksums_are_verified(small_mnist):
    expected = download.MNIST_FILES[IMAGES]
    download.verify(small_mnist / IMAGES, expected)
    for wrong in (expected._replace(md5="0" * 32), expected._replace(sha256="0" * 64)):
        with pytest.raises(UserError, match="wrong checksum"):
            download.verify(small_mnist / IMAGES, wrong)


def test_missing_data_name_the_remedy(small_mnist):
    with pytest.raises(UserError, match="run `wcrnn data fetch mnist`, or set WCRNN_DATA_DIR"):
        download.find_mnist_file(IMAGES)


def test_the_default_cache_is_that_of_the_user(monkeypatch, tmp_path):
    monkeypatch.delenv("WCRNN_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert download.cache_directory().name == "wcrnn"
