"""Files that PyTorch writes, in both of its formats, are read as it reads them.

Needs the extra `parity`; skipped, saying so, where it is absent.
"""

import numpy as np
import pytest

from medjax.models import tensor_files

torch = pytest.importorskip("torch", reason="needs the extra `parity`")


@pytest.mark.parametrize("zipped", [True, False])
def test_state_dicts(tmp_path, zipped):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    state = dict(net.state_dict())
    state["half"] = torch.randn(3, 2).half()
    state["low"] = torch.randn(5).bfloat16()
    state["turned"] = torch.randn(3, 4).T
    state["parameter"] = torch.nn.Parameter(torch.randn(2))
    for number, saved in enumerate((state, {"state_dict": state, "epoch": 7})):
        path = tmp_path / f"{number}.pth"
        torch.save(saved, path, _use_new_zipfile_serialization=zipped)
        found = tensor_files.read(path)
        assert set(found) == set(state)
        for name, tensor in state.items():
            exact = tensor.detach().float().numpy()
            np.testing.assert_array_equal(found[name].astype(np.float32), exact)
