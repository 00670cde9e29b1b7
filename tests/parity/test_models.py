"""Our networks against MONAI's, weights copied across: outputs equal to 1e-4.

Needs the extra `parity`; skipped, saying so, where it is absent.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import models
from medjax.models import pretrained
from medjax.models.unet import UNet

torch = pytest.importorskip("torch", reason="needs the extra `parity`")
nets = pytest.importorskip("monai.networks.nets", reason="needs the extra `parity`")


def reference(name: str, ndim: int, channels: int):
    family, stem = name.rsplit("_", 1)
    if family == "densenet121":
        return nets.DenseNet121(spatial_dims=ndim, in_channels=channels, out_channels=5)
    depths = [2, 2, 2, 2] if family == "resnet18" else [3, 4, 6, 3]
    block = "basic" if family == "resnet18" else "bottleneck"
    small = stem == "28"
    return nets.ResNet(
        block,
        depths,
        [64, 128, 256, 512],
        spatial_dims=ndim,
        n_input_channels=channels,
        conv1_t_size=3 if small else 7,
        conv1_t_stride=1 if small else 2,
        no_max_pool=small,
        num_classes=5,
        bias_downsample=False,
    )


@pytest.mark.parametrize(
    ("name", "ndim", "side"),
    [
        ("resnet18_28", 2, 28),
        ("resnet18_28", 3, 12),
        ("resnet18_224", 2, 64),
        ("resnet18_224", 3, 33),
        ("resnet50_28", 2, 28),
        ("resnet50_224", 2, 64),
        ("resnet50_224", 3, 33),
        ("densenet121_224", 2, 64),
        ("densenet121_224", 3, 32),
    ],
)
def test_outputs_equal_the_reference(name, ndim, side):
    torch.manual_seed(0)
    net = reference(name, ndim, 2)
    for module in net.modules():  # statistics and scales other than zero and one
        if hasattr(module, "running_mean"):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.7, 1.3)
            torch.nn.init.uniform_(module.weight, 0.7, 1.3)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
    net.eval()
    images = np.random.default_rng(0).standard_normal((2, *(side,) * ndim, 2)).astype(np.float32)
    model = models.classifier(name, num_classes=5)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.asarray(images), train=False))
    variables = pretrained.from_torch(
        {k: shapes[k] for k in ("params", "batch_stats")},
        {k: v.numpy() for k, v in net.state_dict().items()},
    )
    ours = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
    with torch.no_grad():
        theirs = net(torch.from_numpy(np.moveaxis(images, -1, 1))).numpy()
    scale = np.abs(theirs).max()
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * max(scale, 1), rtol=1e-4)
    count = sum(x.size for x in jax.tree.leaves(variables["params"]))
    assert count == sum(p.numel() for p in net.parameters())


def from_basic_unet(state: dict, params: dict) -> dict:
    """MONAI's BasicUNet in our names; its levels count down on the way up."""
    levels = sum(name.startswith("down") for name in params)

    def at(name: str) -> np.ndarray:
        return state[name].numpy()

    def conv(prefix: str) -> dict:
        kernel = at(f"{prefix}.weight")
        return {"kernel": np.moveaxis(kernel, (0, 1), (-1, -2)), "bias": at(f"{prefix}.bias")}

    def double(prefix: str) -> dict:
        out = {}
        for i in (1, 2):
            out[f"conv{i}"] = {"conv": conv(f"{prefix}.conv_{i - 1}.conv")}
            norm = f"{prefix}.conv_{i - 1}.adn.N"
            out[f"norm{i}"] = {"scale": at(f"{norm}.weight"), "bias": at(f"{norm}.bias")}
        return out

    out = {"down0": double("conv_0"), "out": {"conv": conv("final_conv")}}
    for level in range(1, levels):
        out[f"down{level}"] = double(f"down_{level}.convs")
    for level in range(levels - 1):
        up = f"upcat_{level + 1}"
        weight = np.moveaxis(at(f"{up}.upsample.deconv.weight"), (0, 1), (-2, -1))
        out[f"up{level}"] = {"kernel": weight, "bias": at(f"{up}.upsample.deconv.bias")}
        out[f"merge{level}"] = double(f"{up}.convs")
    return out


@pytest.mark.parametrize("ndim", [2, 3])
def test_the_unet_equals_monais(ndim):
    torch.manual_seed(0)
    widths = (6, 8, 12, 16, 20)
    net = nets.BasicUNet(
        spatial_dims=ndim, in_channels=2, out_channels=3, features=(*widths, widths[0])
    ).eval()
    for name, value in net.named_parameters():
        if ".adn.N." in name:
            torch.nn.init.uniform_(value, 0.7, 1.3)
    images = np.random.default_rng(0).standard_normal((2, *(32,) * ndim, 2)).astype(np.float32)
    model = UNet(3, widths)
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.asarray(images), train=False)
    )["params"]
    params = from_basic_unet(net.state_dict(), shapes)
    assert jax.tree.map(np.shape, params) == jax.tree.map(lambda x: x.shape, shapes)
    ours = jax.jit(lambda p, x: model.apply({"params": p}, x, train=False))(params, images)
    with torch.no_grad():
        theirs = net(torch.from_numpy(np.moveaxis(images, -1, 1)))
    np.testing.assert_allclose(ours, np.moveaxis(theirs.numpy(), 1, -1), atol=1e-4, rtol=1e-4)
