import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax import models
from medjax.errors import UserError
from medjax.models import pretrained, tensor_files


def shapes(name):
    model = models.classifier(name, num_classes=2)
    found = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
    )
    return {k: found[k] for k in ("params", "batch_stats")}


def as_torch(variables):
    """A state dict in PyTorch's layout with made-up values."""
    rng, out = np.random.default_rng(0), {}

    def add(path, leaf):
        names = tuple(p.key for p in path[1:])
        value = rng.standard_normal(leaf.shape).astype(np.float32)
        if names[-1] == "kernel":
            value = value.transpose(value.ndim - 1, value.ndim - 2, *range(value.ndim - 2))
        out[pretrained.torch_names(names)[0]] = value

    jax.tree_util.tree_map_with_path(add, variables)
    return out


def test_names_are_those_of_torchvision():
    resnet, dense = as_torch(shapes("resnet50_224")), as_torch(shapes("densenet121_224"))
    assert {
        "conv1.weight",
        "bn1.running_mean",
        "layer1.0.conv3.weight",
        "fc.bias",
        "layer4.2.bn3.running_var",
        "layer2.0.downsample.0.weight",
        "layer2.0.downsample.1.bias",
    } <= set(resnet)
    assert len(resnet) == 267
    assert {
        "conv0.weight",
        "features.denseblock4.denselayer16.conv2.weight",
        "features.transition3.norm.weight",
        "norm5.bias",
    } <= set(dense)


def test_values_arrive_and_the_head_may_stay():
    variables = shapes("resnet18_224")
    tensors = as_torch(variables)
    found = pretrained.from_torch(variables, tensors)
    kernel = found["params"]["layer1_0"]["conv1"]["conv"]["kernel"]
    np.testing.assert_array_equal(kernel[0, 1, 2, 3], tensors["layer1.0.conv1.weight"][3, 2, 0, 1])
    np.testing.assert_array_equal(found["params"]["fc"]["linear"]["kernel"], tensors["fc.weight"].T)
    kept = pretrained.from_torch(variables, tensors, head=False)
    assert kept["params"]["fc"]["linear"]["kernel"] is variables["params"]["fc"]["linear"]["kernel"]


def test_what_does_not_fit_is_named(tmp_path):
    variables = shapes("resnet18_224")
    tensors = as_torch(variables)
    tensors["conv1.weight"] = tensors["conv1.weight"][:, :1]
    with pytest.raises(UserError, match=r"'conv1.weight' has shape \(7, 7, 1, 64\)"):
        pretrained.from_torch(variables, tensors)
    del tensors["bn1.bias"], tensors["conv1.weight"]
    tensors["bn1.biases"] = np.zeros(64)
    with pytest.raises(UserError, match=r"the weights lack .*'conv1\.weight'") as error:
        pretrained.from_torch(variables, tensors)
    assert "'bn1.bias'" in str(error.value) and "have 'bn1.biases', arrays" in str(error.value)


def test_of_much_that_does_not_fit_ten_are_listed_and_the_nearest():
    """A ResNet-34 has blocks that a ResNet-18 has not."""
    tensors = as_torch(shapes("resnet18_224"))
    variables = shapes("resnet18_224")
    more = {f"layer3.{i}.conv1.weight": np.zeros(3) for i in range(2, 14)}
    with pytest.raises(UserError, match=r"'layer3\.7\.conv1\.weight', and 2 more, arrays too many"):
        pretrained.from_torch(variables, tensors | more)
    tensors["layer1.0.conv1.weigh"] = tensors.pop("layer1.0.conv1.weight")
    with pytest.raises(UserError, match=r"nearest to the first: 'layer1\.0\.conv1\.weigh'"):
        pretrained.from_torch(variables, tensors)


def test_junk_is_no_file_of_weights(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"junk")
    with pytest.raises(UserError, match="not a readable"):
        tensor_files.read(tmp_path / "x.safetensors")


def test_kernels_of_images_answer_a_volume_of_equal_slices_as_one_slice(rng):
    net = models.classifier("resnet18_28", num_classes=2)
    flat, deep = (
        jax.eval_shape(
            lambda shape=shape: net.init(jax.random.key(0), jnp.zeros(shape), train=False)
        )
        for shape in ((1, 16, 16, 3), (1, 12, 16, 16, 1))
    )
    kernel = rng.normal(size=(64, 3, 3, 3)).astype(np.float32)
    layer = {"params": {"conv1": deep["params"]["conv1"]}, "batch_stats": {}}
    found = pretrained.from_torch(layer, {"conv1.weight": kernel})["params"]["conv1"]["conv"]
    image = rng.normal(size=(1, 16, 16, 1)).astype(np.float32)
    volume = np.repeat(image[:, None], 5, 1)
    same = {"params": {"conv1": flat["params"]["conv1"]}, "batch_stats": {}}
    plane = pretrained.from_torch(same, {"conv1.weight": kernel})["params"]["conv1"]["conv"]
    of_slice = jax.lax.conv(
        np.repeat(image, 3, -1).transpose(0, 3, 1, 2),
        plane["kernel"].transpose(3, 2, 0, 1),
        (1, 1),
        "SAME",
    )
    of_volume = jax.lax.conv(
        volume.transpose(0, 4, 1, 2, 3), found["kernel"].transpose(4, 3, 0, 1, 2), (1,) * 3, "SAME"
    )
    np.testing.assert_allclose(of_volume[:, :, 2], of_slice, atol=1e-4)


def test_places_of_another_size_keep_what_does_not_vary():
    """A grid of 4 x 4 that is constant but for the class token, on one of 2 x 2."""
    value = np.concatenate([np.full((1, 1, 3), 9.0), np.full((1, 16, 3), 2.0)], 1)
    leaf = {"params": {"pos_embed": jax.ShapeDtypeStruct((1, 5, 3), jnp.float32)}}
    found = pretrained.from_torch(leaf, {"pos_embed": value})["params"]["pos_embed"]
    assert found[0, :, 0] == pytest.approx([9, 2, 2, 2, 2])
    odd = {"params": {"pos_embed": jax.ShapeDtypeStruct((1, 7, 3), jnp.float32)}}
    with pytest.raises(UserError, match="'pos_embed' has shape"):
        pretrained.from_torch(odd, {"pos_embed": value})
