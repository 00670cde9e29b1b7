import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from medjax.ops import conv

LAYOUT = {2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}


def native(x, w, stride, pad):
    ndim = x.ndim - 2
    return lax.conv_general_dilated(
        x, w, (stride,) * ndim, [pad] * ndim, dimension_numbers=LAYOUT[ndim]
    )


def ours(x, w, stride, pad):
    ndim = x.ndim - 2
    return conv.conv_general_dilated(
        x, w, (stride,) * ndim, [pad] * ndim, dimension_numbers=LAYOUT[ndim]
    )


@settings(max_examples=6)  # each compiles anew
@given(
    ndim=st.sampled_from([2, 3]),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    low=st.integers(0, 2),
    high=st.integers(0, 2),
    side=st.integers(4, 7),
)
def test_values_and_gradients_equal_xla(ndim, kernel, stride, low, high, side):
    keys = jax.random.split(jax.random.key(side), 3)
    x = jax.random.normal(keys[0], (2, *(side,) * (ndim - 1), side + 1, 3))
    w = jax.random.normal(keys[1], (*(kernel,) * ndim, 3, 2))
    expected, back = jax.vjp(lambda x, w: native(x, w, stride, (low, high)), x, w)
    found, back_ours = jax.vjp(lambda x, w: ours(x, w, stride, (low, high)), x, w)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(ours(x, w, stride, (low, high)), expected, atol=1e-4)
    g = jax.random.normal(keys[2], expected.shape)
    for a, b in zip(back_ours(g), back(g), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("part_bytes", [1, 5000, 20000])
def test_a_volume_in_parts_of_its_depth_has_the_same_answer(stride, part_bytes, monkeypatch, rng):
    x, w = (
        jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((2, 11, 6, 6, 3), (3,) * 4 + (2,))
    )
    monkeypatch.setattr(conv, "_PART_BYTES", part_bytes)  # of stride 1: 12, 4 and 1 parts
    program = str(jax.make_jaxpr(lambda x: ours(x, w, stride, (1, 2)))(x))
    assert ("scan" in program) == (part_bytes < 20000)
    np.testing.assert_allclose(ours(x, w, stride, (1, 2)), native(x, w, stride, (1, 2)), atol=1e-4)


@pytest.mark.parametrize("taps", [(3, 3), (1, 5), (2, 7), (3, 1)])
@pytest.mark.parametrize("width", [6, 7])
def test_gray_images_at_every_width_of_the_kernel(taps, width, rng):
    x, w = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((2, 5, width, 1), (*taps, 1, 3)))
    pads = [(1, 1), (taps[1] // 2,) * 2]

    def value(form, x, w):
        return form(x, w, (1, 1), pads, dimension_numbers=LAYOUT[2])

    expected = value(lax.conv_general_dilated, x, w)
    np.testing.assert_allclose(value(conv.conv_general_dilated, x, w), expected, atol=1e-5)
    gradients = [
        jax.grad(lambda x, w, f=form: (value(f, x, w) ** 2).sum(), (0, 1))(x, w)
        for form in (conv.conv_general_dilated, lax.conv_general_dilated)
    ]
    for a, b in zip(*gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_same_padding_and_second_derivative():
    x, w = jnp.ones((1, 5, 5, 1)), jnp.ones((3, 3, 1, 1))

    def energy(form):
        return lambda w: (form(x, w, (2, 2), "SAME", dimension_numbers=LAYOUT[2]) ** 3).sum()

    for order in (
        jax.grad(energy(conv.conv_general_dilated)),
        jax.grad(lambda w: jax.grad(energy(conv.conv_general_dilated))(w).sum()),
    ):
        assert np.isfinite(order(w)).all()
    np.testing.assert_allclose(
        jax.grad(lambda w: jax.grad(energy(conv.conv_general_dilated))(w).sum())(w),
        jax.grad(lambda w: jax.grad(energy(lax.conv_general_dilated))(w).sum())(w),
        rtol=1e-5,
    )


def test_groups_and_dilation_are_left_to_xla():
    x, w = jnp.ones((1, 6, 6, 2)), jnp.ones((3, 3, 1, 2))
    options = {"dimension_numbers": LAYOUT[2], "feature_group_count": 2, "rhs_dilation": (2, 2)}
    np.testing.assert_allclose(
        conv.conv_general_dilated(x, w, (1, 1), "SAME", **options),
        lax.conv_general_dilated(x, w, (1, 1), "SAME", **options),
    )


@pytest.mark.parametrize(
    ("sides", "dilation", "pads"),
    [
        ((9, 12), (2, 3), "SAME"),
        ((7, 5), (4, 1), [(4, 3), (0, 2)]),
        ((5, 8, 6), (2, 2, 2), "SAME"),
    ],
)
def test_a_dilated_convolution_equals_xla(sides, dilation, pads):
    ndim = len(sides)
    x = jax.random.normal(jax.random.key(0), (2, *sides, 3))
    w = jax.random.normal(jax.random.key(1), (*(3,) * ndim, 3, 4))
    options = {"rhs_dilation": dilation, "dimension_numbers": LAYOUT[ndim]}

    def through(convolve):
        return jax.vjp(lambda x, w: convolve(x, w, (1,) * ndim, pads, **options), x, w)

    expected, back = through(lax.conv_general_dilated)
    got, back_ours = through(conv.conv_general_dilated)
    np.testing.assert_allclose(got, expected, atol=1e-4)
    for a, b in zip(back_ours(expected), back(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(2, 6, 7, 5), (1, 4, 5, 6, 3)])
def test_a_depthwise_convolution_equals_xla(shape, stride):
    ndim, channels = len(shape) - 2, shape[-1]
    x = jax.random.normal(jax.random.key(0), shape)
    w = jax.random.normal(jax.random.key(1), (*(3, 2, 3)[:ndim], 1, channels))
    options = {"dimension_numbers": LAYOUT[ndim], "feature_group_count": channels}

    def value(form, x, w):
        return form(x, w, (stride,) * ndim, [(1, 1)] * ndim, **options)

    for a, b in zip(
        *(
            jax.tree.leaves(
                (
                    value(form, x, w),
                    jax.grad(lambda x, w, f=form: (value(f, x, w) ** 2).sum(), (0, 1))(x, w),
                )
            )
            for form in (conv.conv_general_dilated, lax.conv_general_dilated)
        ),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, atol=1e-4)
    text = jax.jit(lambda x, w: value(conv.conv_general_dilated, x, w)).lower(x, w).as_text()
    assert "convolution" not in text  # no form of XLA's is left


def test_vmap_over_kernels_works():
    x, w = (
        jnp.ones((3, 2, 5, 5, 1)),
        jnp.arange(3.0).reshape(3, 1, 1, 1, 1) * jnp.ones((3, 3, 3, 1, 4)),
    )
    out = jax.vmap(lambda x, w: ours(x, w, 1, (1, 1)))(x, w)
    assert out[2, 0, 2, 2, 0] == 18.0


@pytest.mark.slow
@pytest.mark.alone
def test_gradients_in_a_loop_are_not_slow():
    """Inside `lax.scan` XLA's own kernel gradient was 33 times slower than outside it."""
    import time

    x, w = jnp.ones((64, 14, 14, 48)), jnp.ones((3, 3, 48, 48)) * 0.01
    step = jax.grad(lambda w: (ours(x, w, 1, (1, 1)) ** 2).sum())
    loop = jax.jit(lambda w: lax.fori_loop(0, 4, lambda i, w: w - 1e-9 * step(w), w))
    once = jax.jit(step)

    def seconds(f):
        jax.block_until_ready(f(w))
        times = []
        for _ in range(5):
            start = time.perf_counter()
            jax.block_until_ready(f(w))
            times.append(time.perf_counter() - start)
        return sorted(times)[2]

    assert seconds(loop) / 4 < 3 * seconds(once)
