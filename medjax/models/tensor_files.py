"""Arrays of files that other programs wrote, read without running any code of theirs.

A `.pth` of PyTorch is a pickle, which may name any function to be called. Here only tensors and
what holds them are admitted: everything else that a file names is refused, before it is called.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from medjax.errors import UserError

_STORAGES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
_MOST_PICKLE = 2**26  # bytes of a pickle without its numbers: names and shapes
_MAGIC = 0x1950A86A20F9469CFC6C  # the first number of a file of before PyTorch 1.6
_PROTOCOL = 1001  # of such files


class Storage(NamedTuple):
    """Numbers that tensors are views of, before they are read.

    Attributes:
      kind: their type; key: their name in the file; size: how many there are.
    """

    kind: np.dtype
    key: str
    size: int


class Tensor(NamedTuple):
    """A view of a storage, in its elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a `.safetensors`, `.npz`, or PyTorch file (`.pth`, `.pt`, `.bin`), by name.

    Of a checkpoint with the weights under one name, such as `state_dict`, those.

    Raises:
      UserError: if the file cannot be read, or holds anything but tensors; it names what.
    """
    readers: dict[str, Callable[[Path], Mapping[str, np.ndarray]]] = {
        ".safetensors": load_file,
        ".npz": _read_npz,
        **dict.fromkeys((".pth", ".pt", ".bin"), _read_torch),
    }
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: no file of weights; known are {', '.join(readers)}")
    try:
        return dict(readers[path.suffix.lower()](path))
    except UserError:
        raise
    except Exception as e:  # each format has its own exceptions; all mean the same to the user
        raise UserError(f"{path}: not a readable {path.suffix} file ({e})") from e


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return _read_zipped(path, archive)
    with path.open("rb") as file:
        return _read_legacy(path, file)


def _read_zipped(path: Path, archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
    """Of PyTorch since 1.6: a pickle, and a file a storage."""
    (name,) = (n for n in archive.namelist() if n.endswith("/data.pkl"))
    folder = name.removesuffix("data.pkl")
    if archive.getinfo(name).file_size > _MOST_PICKLE:
        raise ValueError("its pickle is larger than names and shapes are")
    order = f"{folder}byteorder"
    if order in archive.namelist():
        with archive.open(order) as file:  # of no more than it should hold
            if file.read(len(b"little") + 1) != b"little":
                raise ValueError("it was written by a big-endian machine")
    tensors = _tensors_in(_Pickle(path, io.BytesIO(archive.read(name))).load(), path)
    numbers = {}
    for storage in {t.storage for t in tensors.values()}:
        info = archive.getinfo(f"{folder}data/{storage.key}")
        stored = info.compress_type == zipfile.ZIP_STORED  # a small file might become any size
        if not stored or info.file_size != storage.size * storage.kind.itemsize:
            raise ValueError(f"the numbers of {storage.key!r} are not as many as they should be")
        numbers[storage.key] = np.frombuffer(archive.read(info), storage.kind)
    return _with_numbers(tensors, numbers)


def _read_legacy(path: Path, file: Any) -> dict[str, np.ndarray]:
    """Of PyTorch before 1.6: pickles, then the numbers of each storage behind their count."""
    if (_Pickle(path, file).load(), _Pickle(path, file).load()) != (_MAGIC, _PROTOCOL):
        raise ValueError("a pickle, but none of PyTorch")
    if not _Pickle(path, file).load().get("little_endian", True):
        raise ValueError("it was written by a big-endian machine")
    pickled, numbers = _Pickle(path, file), {}
    tensors = _tensors_in(pickled.load(), path)
    for key in _Pickle(path, file).load():
        storage = pickled.storages[key]
        count, size = int.from_bytes(file.read(8), "little"), storage.size * storage.kind.itemsize
        if count != storage.size or size > path.stat().st_size - file.tell():
            raise ValueError(f"the numbers of {key!r} are not as many as they should be")
        numbers[key] = np.frombuffer(file.read(size), storage.kind)
    return _with_numbers(tensors, numbers)


class _Pickle(pickle.Unpickler):
    """Admits tensors, and refuses all else by name.

    Attributes:
      storages: that it has met, by their keys.
    """

    def __init__(self, path: Path, file: Any):
        super().__init__(file)
        self._path, self.storages = path, dict[str, Storage]()

    def find_class(self, module: str, name: str) -> Any:
        def rebuild(
            *given: Any,
        ) -> Tensor:
            # Defined anew each time: a pickle may set attributes of what it is given.
            return _tensor(*given)

        admitted: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch", "Size"): tuple,
            ("torch._utils", "_rebuild_tensor_v2"): rebuild,
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            **{("torch", storage): storage for storage in _STORAGES},
        }
        if (module, name) not in admitted:
            raise UserError(
                f"{self._path}: holds `{module}.{name}`, and only tensors are read, since a pickle "
                "may run any code; save the `state_dict` alone, or a .safetensors file"
            )
        return admitted[module, name]

    def persistent_load(self, pid: Any) -> Storage:
        what, storage, key, _, count, *rest = pid
        if what != "storage" or any(part is not None for part in rest):
            raise ValueError(f"a reference to {what!r}, which is no storage")
        made = Storage(np.dtype(_STORAGES[storage]), str(key), int(count))
        return self.storages.setdefault(made.key, made)


def _tensor(storage: Storage, offset: int, shape: Any, strides: Any, *_: Any) -> Tensor:
    """What `torch._utils._rebuild_tensor_v2` is asked for, within the bounds of its storage."""
    if not isinstance(storage, Storage):  # a pickle may make other things of the same form
        raise ValueError("a tensor of no storage")
    made = Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))
    last = sum((n - 1) * s for n, s in zip(made.shape, made.strides, strict=True))
    count = math.prod(made.shape)
    inside = min(made.offset, *made.strides, *made.shape, 0) >= 0 and count <= storage.size
    if not inside or (count and made.offset + last >= storage.size):
        raise ValueError("a tensor that reaches beyond its numbers")
    return made


def _tensors_in(state: Any, path: Path) -> dict[str, Tensor]:
    """Those of a state dict, or of the only one that a checkpoint holds."""
    if not isinstance(state, dict):
        raise UserError(f"{path}: holds a {type(state).__name__}, and no tensors by name")
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if tensors:
        return tensors
    inner = [v for v in state.values() if isinstance(v, dict)]
    held = [t for v in inner if (t := {k: x for k, x in v.items() if isinstance(x, Tensor)})]
    if len(held) != 1:
        raise UserError(f"{path}: holds {len(held)} sets of tensors, one is needed: save it alone")
    return {str(name): value for name, value in held[0].items()}


def _with_numbers(
    tensors: Mapping[str, Tensor], numbers: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The arrays that tensors are, of the numbers of each storage by its key."""
    out = {}
    for name, tensor in tensors.items():
        if len(numbers[tensor.storage.key]) != tensor.storage.size:  # a view would reach beyond it
            raise ValueError(f"the numbers of {tensor.storage.key!r} are not as many as they say")
        values = numbers[tensor.storage.key][tensor.offset :]
        steps = [s * tensor.storage.kind.itemsize for s in tensor.strides]
        out[name] = np.lib.stride_tricks.as_strided(values, tensor.shape, steps).copy()
    return out
