"""The published files of MNIST and CIFAR-10, with their checksums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class Checksum(NamedTuple):
    """Published checksums of a file; both are verified."""

    sha256: str
    md5: str


@dataclass(frozen=True)
class Archive:
    """A packed file that holds the files of a data set.

    Attributes:
        name: Its name on the mirrors.
        checksum: Of the archive; the files in it are verified too.
        folder: The folder of the files inside.
    """

    name: str
    checksum: Checksum
    folder: str


@dataclass(frozen=True)
class DataSet:
    """Files that make a data set, and where they come from.

    Attributes:
        name: In commands, and of its folder in a data directory and in the cache.
        title: As its authors call it.
        files: Checksums by file name.
        mirrors: URLs of directories that hold the files, or the archive.
        folders: Folders below a data directory where the files may lie, besides the directory itself.
        archive: The archive that the mirrors hold instead of the files.
    """

    name: str
    title: str
    files: dict[str, Checksum]
    mirrors: tuple[str, ...]
    folders: tuple[str, ...]
    archive: Archive | None = None


MNIST = DataSet(
    name="mnist",
    title="MNIST",
    files={
        "train-images-idx3-ubyte.gz": Checksum(
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609", "f68b3c2dcbeaaa9fbdd348bbdeb94873"
        ),
        "train-labels-idx1-ubyte.gz": Checksum(
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c", "d53e105ee54ea40749a09fcbcd1e9432"
        ),
        "t10k-images-idx3-ubyte.gz": Checksum(
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6", "9fb629c4189551a2d022fa330f9573f3"
        ),
        "t10k-labels-idx1-ubyte.gz": Checksum(
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6", "ec29112dd5afa0611ce80d1b7f02629c"
        ),
    },
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    folders=("mnist",),
)

CIFAR10 = DataSet(
    name="cifar10",
    title="CIFAR-10",
    files={
        "data_batch_1": Checksum(
            "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd", "c99cafc152244af753f735de768cd75f"
        ),
        "data_batch_2": Checksum(
            "766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8", "d4bba439e000b95fd0a9bffe97cbabec"
        ),
        "data_batch_3": Checksum(
            "0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9", "54ebc095f3ab1f0389bbae665268c751"
        ),
        "data_batch_4": Checksum(
            "3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b", "634d18415352ddfa80567beed471001a"
        ),
        "data_batch_5": Checksum(
            "d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154", "482c414d41f54cd18b22e5b47cb7c3cb"
        ),
        "test_batch": Checksum(
            "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831", "40351d587109b95175f43aff81a1287e"
        ),
    },
    mirrors=("https://www.cs.toronto.edu/~kriz/",),
    folders=("cifar10", "cifar-10-batches-py", "cifar10/cifar-10-batches-py"),
    archive=Archive(
        "cifar-10-python.tar.gz",
        Checksum(
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce", "c58f30108f718f92721af3b95e74349a"
        ),
        "cifar-10-batches-py",
    ),
)

DATA_SETS = {"mnist": MNIST, "cifar10": CIFAR10}
