"""Files of tensors: what PyTorch writes, and what is refused, without PyTorch."""

import io
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from safetensors.numpy import save_file

from medjax.errors import UserError
from medjax.models import tensor_files

VALUES = np.arange(12, dtype=np.float32)


@pytest.fixture
def torch(monkeypatch):
    """Modules with the names that a pickle of PyTorch has."""
    module, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("FloatStorage", "LongStorage", "Generator"):
        setattr(module, name, type(name, (), {"__module__": "torch"}))
    for name in ("_rebuild_tensor_v2", "_rebuild_parameter"):
        made = types.FunctionType((lambda *given: given).__code__, {}, name)
        made.__module__, made.__qualname__ = "torch._utils", name
        setattr(utils, name, made)
    module._utils = utils
    monkeypatch.setitem(sys.modules, "torch", module)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return module


class Tensor:
    """Pickled as PyTorch does: a view of a storage, by name."""

    def __init__(self, torch, shape, strides, *, offset=0, key="0", count=12, kind="FloatStorage"):
        self.torch, self.view = torch, (offset, shape, strides)
        self.storage = ("storage", getattr(torch, kind), key, "cpu", count)

    def __reduce__(self):
        given = (Reference(self.storage), *self.view, False, OrderedDict())
        return self.torch._utils._rebuild_tensor_v2, given


class Reference:
    """To a storage."""

    def __init__(self, storage):
        self.storage = storage


class Pickler(pickle.Pickler):
    legacy = False

    def persistent_id(self, thing):
        if isinstance(thing, Reference):
            return (*thing.storage, None) if self.legacy else thing.storage
        return None


class LegacyPickler(Pickler):
    legacy = True


def pickled(thing, pickler=Pickler):
    out = io.BytesIO()
    pickler(out, protocol=2).dump(thing)
    return out.getvalue()


def save_zip(path, thing, numbers=VALUES, *, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("a/data.pkl", pickled(thing))
        archive.writestr("a/data/0", numbers.tobytes())
    return path


def save_legacy(path, thing, numbers=VALUES):
    parts = [tensor_files._MAGIC, tensor_files._PROTOCOL, {"little_endian": True}, thing]
    content = b"".join(pickled(part, LegacyPickler) for part in parts) + pickled(["0"])
    path.write_bytes(content + len(numbers).to_bytes(8, "little") + numbers.tobytes())
    return path


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_views_of_a_storage(torch, tmp_path, save):
    state = OrderedDict(
        plain=Tensor(torch, (3, 4), (4, 1)),
        turned=Tensor(torch, (4, 3), (1, 4)),
        part=Tensor(torch, (2,), (3,), offset=5),
        empty=Tensor(torch, (0,), (1,), offset=12),
        number=Tensor(torch, (), (), offset=7),
    )
    found = tensor_files.read(save(tmp_path / "a.pth", state))
    np.testing.assert_array_equal(found["plain"], VALUES.reshape(3, 4))
    np.testing.assert_array_equal(found["turned"], VALUES.reshape(3, 4).T)
    np.testing.assert_array_equal(found["part"], [5, 8])
    assert found["empty"].shape == (0,) and found["number"] == 7
    found["plain"][0] = 9  # is an array of its own
    assert found["turned"][0, 0] == 0


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_the_weights_of_a_checkpoint(torch, tmp_path, save):
    state = {"epoch": 3, "state_dict": {"a": Tensor(torch, (12,), (1,))}, "optimizer": {"lr": 0.1}}
    found = tensor_files.read(save(tmp_path / "a.pth", state))
    np.testing.assert_array_equal(found["a"], VALUES)
    two = {"a": state["state_dict"], "b": state["state_dict"]}
    with pytest.raises(UserError, match="holds 2 sets of tensors"):
        tensor_files.read(save(tmp_path / "b.pth", two))
    with pytest.raises(UserError, match="holds a list, and no tensors by name"):
        tensor_files.read(save(tmp_path / "c.pth", [1, 2]))


class Harmful:
    def __reduce__(self):
        return os.system, ("touch harmed",)


@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_code_is_refused_by_name_and_not_run(torch, tmp_path, monkeypatch, save):
    monkeypatch.chdir(tmp_path)
    path = save(tmp_path / "a.pth", {"a": Tensor(torch, (12,), (1,)), "b": Harmful()})
    with pytest.raises(UserError, match=r"holds `posix.system`, and only tensors are read"):
        tensor_files.read(path)
    with pytest.raises(UserError, match=r"holds `torch.Generator`"):
        tensor_files.read(save(tmp_path / "b.pth", {"a": torch.Generator()}))
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("shape", "strides", "more"),
    [
        ((13,), (1,), {}),
        ((3,), (6,), {}),
        ((3,), (-1,), {"offset": 5}),
        ((4,), (1,), {"offset": 9}),
        ((1,), (1,), {"offset": -1}),
        ((10**12,), (0,), {}),  # that would fill the memory
        ((4, 4), (1,), {}),
    ],
)
def test_a_tensor_stays_within_its_numbers(torch, tmp_path, shape, strides, more):
    path = save_zip(tmp_path / "a.pth", {"a": Tensor(torch, shape, strides, **more)})
    with pytest.raises(UserError, match=r"not a readable .pth file"):
        tensor_files.read(path)


def test_numbers_that_are_not_there(torch, tmp_path):
    large = {"a": Tensor(torch, (10**11,), (1,), count=10**11)}
    for save in (save_zip, save_legacy):
        with pytest.raises(UserError, match="not as many as they should be"):
            tensor_files.read(save(tmp_path / "a.pth", large))
    fine = {"a": Tensor(torch, (12,), (1,))}
    packed = save_zip(tmp_path / "b.pth", fine, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(UserError, match="not as many as they should be"):
        tensor_files.read(packed)


@pytest.mark.parametrize("cut", [0, 1, 40, 200])
@pytest.mark.parametrize("save", [save_zip, save_legacy])
def test_files_that_end_early(torch, tmp_path, save, cut):
    path = save(tmp_path / "a.pth", {"a": Tensor(torch, (12,), (1,))})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"a.pth: not a readable .pth file"):
        tensor_files.read(path)


def test_other_files(tmp_path):
    save_file({"a": VALUES}, tmp_path / "a.safetensors")
    np.savez(tmp_path / "a.npz", a=VALUES)
    for name in ("a.safetensors", "a.npz"):
        np.testing.assert_array_equal(tensor_files.read(tmp_path / name)["a"], VALUES)
    np.savez(tmp_path / "b.npz", a=np.array([{"x": 1}], object))
    with pytest.raises(UserError, match=r"not a readable .npz file"):
        tensor_files.read(tmp_path / "b.npz")
    with pytest.raises(UserError, match=r"no file of weights; known are .safetensors, .npz, .pth"):
        tensor_files.read(tmp_path / "a.h5")


def test_a_member_that_says_it_is_larger_than_it_is(torch, tmp_path):
    """The size in the list of a zip file is what its author writes."""
    path = save_zip(tmp_path / "a.pth", {"a": Tensor(torch, (4000,), (1,), count=4000)})
    content = bytearray(path.read_bytes())
    place = content.rindex(b"PK\x01\x02")  # the last entry of the list: the numbers
    content[place + 24 : place + 28] = (16000).to_bytes(4, "little")
    path.write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"a\.pth: "):
        tensor_files.read(path)


def test_what_is_not_a_storage_is_no_storage(torch, tmp_path):
    class Made(OrderedDict):
        """Pickled as an OrderedDict with attributes of a storage."""

        def __reduce__(self):
            return OrderedDict, (), {"size": 4000, "key": "0", "kind": "f4"}

    tensor = Tensor(torch, (4000,), (1,), count=12)
    given = (Made(), 0, (4000,), (1,), False, OrderedDict())
    tensor.__class__ = type(
        "Forged", (), {"__reduce__": lambda self: (torch._utils._rebuild_tensor_v2, given)}
    )
    with pytest.raises(UserError, match="no storage"):
        tensor_files.read(save_zip(tmp_path / "a.pth", {"a": tensor}))


def test_an_order_of_bytes_that_never_ends_is_not_read(torch, tmp_path):
    path = save_zip(tmp_path / "a.pth", {"a": Tensor(torch, (12,), (1,))})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/byteorder", b"little" + bytes(10**6))
    with pytest.raises(UserError, match="big-endian"):
        tensor_files.read(path)
