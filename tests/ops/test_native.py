"""What is compiled, against XLA's own; skipped where there is no C++ compiler."""

import functools
import shutil

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax import lax

from medjax import lock, native
from medjax.errors import UserError
from medjax.ops import compiled_conv, conv, interpolation
from medjax.tools import build, cache
from tests.conftest import common

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="no C++ compiler"
)


@pytest.fixture(scope="module", autouse=True)
def library(tmp_path_factory):
    """Built once, and forgotten at the end: other tests are of XLA's convolutions."""
    path = native.library_path(common(tmp_path_factory))
    path.parent.mkdir(exist_ok=True)
    with lock.hold(path.parent / "lock", wait=True):  # one worker builds it for all
        if not path.exists():
            native.build(path)
    native.register(path)
    yield path
    native._loaded.clear()


def of_xla(x, w, strides, pads):
    return lax.conv_general_dilated(x, w, strides, pads, dimension_numbers=conv.LAYOUT[x.ndim])


def check_equal(x, w, strides, pads, *, tolerance=2e-5):
    """Values and both gradients."""
    ours = jax.jit(lambda x, w: compiled_conv.convolve(x, w, strides=strides, pads=pads))
    value, back = jax.vjp(ours, x, w)
    expected, back_of_xla = jax.vjp(lambda x, w: of_xla(x, w, strides, pads), x, w)
    g = jax.random.normal(jax.random.key(1), expected.shape)
    for a, b in zip((value, *back(g)), (expected, *back_of_xla(g)), strict=True):
        largest = max(float(jnp.abs(b).max(initial=0.0)), 1.0)
        np.testing.assert_allclose(a, b, atol=tolerance * largest)


three = st.tuples(*[st.integers(1, 4)] * 3)


@settings(max_examples=6)
@example((1, 5, 3), (1, 1, 1), (2, 2, 2), (0, 1, 2), 1, 1)  # gray
@example((3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1), 24, 70)  # more than one block of features
@example((2, 2, 2), (3, 3, 3), (0, 0, 0), (0, 0, 0), 5, 33)  # pixels that no window holds
@example((1, 1, 1), (2, 2, 2), (0, 0, 0), (0, 0, 0), 17, 16)
@given(
    three,
    st.tuples(*[st.integers(1, 3)] * 3),
    st.tuples(*[st.integers(0, 2)] * 3),
    st.tuples(*[st.integers(0, 2)] * 3),
    st.integers(1, 9),
    st.integers(1, 20),
)
def test_values_and_gradients_equal_xla(taps, strides, low, high, channels, features):
    keys = jax.random.split(jax.random.key(channels))
    x = jax.random.normal(keys[0], (2, 5, 7, 6, channels))
    w = jax.random.normal(keys[1], (*taps, channels, features))
    check_equal(x, w, strides, tuple(zip(low, high, strict=True)))


@pytest.mark.parametrize(
    "shape, taps, pads, features",
    [
        ((4, 25, 30, 16), (3, 3), ((1, 1), (1, 1)), 17),  # tiles over the edge, one feature over
        ((3, 19, 23, 40), (3, 3), ((2, 0), (0, 2)), 64),  # as in a gradient: more pad at one side
        ((2, 27, 31, 20), (4, 4), ((1, 2), (1, 2)), 70),
        ((2, 30, 21, 16), (5, 5), ((2, 2), (2, 2)), 128),
        ((2, 6, 20, 21, 4), (5, 5, 5), ((2, 2),) * 3, 32),  # few channels: planes side by side
        ((1, 7, 24, 25, 18), (2, 3, 3), ((0, 1), (1, 1), (0, 0)), 33),
        ((6, 17, 17, 300), (3, 3), ((1, 1), (1, 1)), 256),  # features in parts
    ],
)
def test_fewer_products_give_the_same_sums(shape, taps, pads, features):
    """Kernels and images that Winograd's filtering is for."""
    keys = jax.random.split(jax.random.key(0))
    x = jax.random.normal(keys[0], shape)
    w = jax.random.normal(keys[1], (*taps, shape[-1], features))
    check_equal(x, w, (1,) * len(taps), pads)


def test_a_gradient_of_gray_images_loses_nothing():
    """All taps of a row are summed at once, by one thread."""
    x = jax.random.normal(jax.random.key(0), (8, 96, 96, 1))
    w = jax.random.normal(jax.random.key(1), (3, 3, 1, 16))
    pads = ((1, 1), (1, 1))
    check_equal(x, w, (1, 1), pads)

    def slope(form):
        return jax.jit(jax.grad(lambda w: (form(x, w) ** 2).sum()))

    ours = slope(lambda x, w: compiled_conv.convolve(x, w, strides=(1, 1), pads=pads))
    expected = slope(lambda x, w: of_xla(x, w, (1, 1), pads))(w)
    for _ in range(5):
        np.testing.assert_allclose(ours(w), expected, atol=2e-5 * float(jnp.abs(expected).max()))


@pytest.mark.parametrize("channels", [3, 16, 40, 70])
@pytest.mark.parametrize("strides", [(1, 1, 1), (2, 1, 3)])
def test_a_depthwise_convolution_equals_xla(channels, strides):
    x = jax.random.normal(jax.random.key(0), (2, 5, 6, 9, channels))
    w = jax.random.normal(jax.random.key(1), (2, 3, 5, 1, channels))
    pads = ((1, 0), (1, 2), (2, 2))

    def of_xla(x, w):
        names = conv.LAYOUT[5]
        return lax.conv_general_dilated(
            x, w, strides, pads, dimension_numbers=names, feature_group_count=channels
        )

    def ours(x, w):
        return compiled_conv.convolve(x, w, strides=strides, pads=pads, depthwise=True)

    (value, back), (expected, back_of_xla) = (jax.vjp(f, x, w) for f in (jax.jit(ours), of_xla))
    g = jax.random.normal(jax.random.key(2), expected.shape)
    for a, b in zip((value, *back(g)), (expected, *back_of_xla(g)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)


@pytest.mark.parametrize("side", [1, 4, 29, 130])
def test_flat_images_of_every_width(side):
    x = jax.random.normal(jax.random.key(0), (3, 3, side, 8))
    w = jax.random.normal(jax.random.key(1), (3, 3, 8, 40))
    check_equal(x, w, (1, 1), ((1, 1), (1, 1)))


@pytest.mark.parametrize(
    "shape, pad", [((0, 4, 4, 2), 1), ((0, 4, 4, 2), 0), ((3, 2, 4, 2), 0), ((3, 4, 2, 2), 0)]
)
def test_a_batch_or_a_result_that_is_empty(shape, pad):
    x, w = jnp.ones(shape), jnp.ones((3, 3, 2, 5))
    check_equal(x, w, (1, 1), ((pad, pad), (pad, pad)))


def test_second_derivatives_equal_those_of_xla():
    x = jax.random.normal(jax.random.key(0), (2, 6, 5, 2))
    w = jax.random.normal(jax.random.key(1), (3, 3, 2, 3))
    strides, pads = (2, 1), ((1, 1), (0, 2))

    def second(form):
        def energy(x, w):
            return (form(x, w) ** 3).sum()

        def slope(x, w):
            return sum((g**2).sum() for g in jax.grad(energy, (0, 1))(x, w))

        return jax.grad(slope, (0, 1))(x, w)

    ours = second(lambda x, w: compiled_conv.convolve(x, w, strides=strides, pads=pads))
    for a, b in zip(ours, second(lambda x, w: of_xla(x, w, strides, pads)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * float(jnp.abs(b).max()))


def test_a_vmapped_kernel():
    x = jax.random.normal(jax.random.key(0), (3, 2, 5, 5, 2))
    w = jax.random.normal(jax.random.key(1), (3, 3, 3, 2, 4))
    pads = ((1, 1), (1, 1))
    out = jax.vmap(lambda x, w: compiled_conv.convolve(x, w, strides=(1, 1), pads=pads))(x, w)
    np.testing.assert_allclose(out[2], of_xla(x[2], w[2], (1, 1), pads), atol=1e-4)


def test_a_sum_does_not_depend_on_the_run():
    x = jax.random.normal(jax.random.key(0), (8, 16, 16, 16))
    w = jax.random.normal(jax.random.key(1), (3, 3, 16, 16))
    pads = ((1, 1), (1, 1))
    gradient = jax.jit(
        jax.grad(lambda w: (compiled_conv.convolve(x, w, strides=(1, 1), pads=pads) ** 2).sum())
    )
    first = gradient(w)
    for _ in range(5):
        assert (gradient(w) == first).all()


def test_a_network_takes_it_where_it_is_built():
    x, w = jnp.ones((1, 4, 4, 1)), jnp.ones((3, 3, 1, 1))
    options = {"dimension_numbers": conv.LAYOUT[4]}

    def text(kind):
        given = (x.astype(kind), w.astype(kind))
        call = jax.jit(lambda x, w: conv.conv_general_dilated(x, w, (1, 1), "SAME", **options))
        return call.lower(*given).as_text()

    assert native.CALLS[0] in text(jnp.float32)
    assert native.CALLS[0] not in text(jnp.bfloat16)  # it is for float32


def test_without_a_compiler_one_line(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"no C\+\+ compiler \(no-such-compiler\): install one"):
        native.build(tmp_path / "conv.so")


def test_a_compiler_that_fails_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(UserError, match="false: failed"):
        native.build(tmp_path / "native" / "conv.so")
    assert list((tmp_path / "native").iterdir()) == []


def test_a_library_that_is_none(tmp_path):
    (tmp_path / "conv.so").write_text("no library")
    with pytest.raises(UserError, match="build it again: medjax build"):
        native.register(tmp_path / "conv.so")


@pytest.fixture
def once(monkeypatch, library):
    """A process registers one library; that of this module has the same source, and is built."""

    def copy(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, path)

    monkeypatch.setattr(native, "build", copy)
    monkeypatch.setattr(native, "register", lambda path: None)


def test_the_command_builds_checks_and_says_so_and_the_cache_empties_it(once, tmp_path, capsys):
    build.main(build.Config(cache_dir=str(tmp_path)))
    assert "compiled" in capsys.readouterr().out
    path = native.library_path(tmp_path)
    assert path.exists() and native.name_loaded() == path.stem
    cache.main(cache.Config(empty="native", cache_dir=str(tmp_path)))
    assert not path.exists()


def test_a_library_that_differs_is_not_kept(once, monkeypatch, tmp_path):
    monkeypatch.setattr(compiled_conv, "convolve", lambda x, w, **how: conv.conv3d(x, 2 * w, **how))
    with pytest.raises(UserError, match="compiled convolution differs from XLA's: it was not kept"):
        build.main(build.Config(cache_dir=str(tmp_path)))
    assert not native.library_path(tmp_path).exists()


def test_set_aside_a_program_holds_nothing_of_this_machine():
    """What is exported runs elsewhere, though this process computes by the library."""
    x, w = jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 4, 5))

    def convolved(x, w):
        return conv.conv_general_dilated(
            x, w, (1, 1), "SAME", dimension_numbers=conv.LAYOUT[x.ndim]
        )

    def exported():
        return jax.export.export(jax.jit(functools.partial(convolved)))(x, w).serialize()

    with pytest.raises(ValueError, match="medjax_conv"):
        exported()
    with native.set_aside():
        assert b"medjax_conv" not in exported()
    assert native.is_loaded()


@pytest.mark.parametrize("fill", [None, 0.0, 2.5])
@pytest.mark.parametrize(("shape", "channels"), [((30, 41), 1), ((30, 20, 23), 3), ((9, 8, 7), 37)])
def test_interpolation_equals_xla(shape, channels, fill):
    """Several parts of points, a last one of fewer than a block, and slabs of the image."""
    keys = jax.random.split(jax.random.key(0), 3)
    image = jax.random.normal(keys[0], (*shape, channels))
    where = jax.random.uniform(keys[1], (len(shape), 9_001), minval=-4.0, maxval=45.0)
    where = where.at[0, :2].set(jnp.array([-1e9, 1e9]))
    g = jax.random.normal(keys[2], (where.shape[1], channels))

    def all_of():
        @jax.jit
        def values(image, where, g):
            value, back = jax.vjp(lambda i, w: interpolation.sample(i, w, fill=fill), image, where)
            return value, *back(g)

        return values

    assert all_of().lower(image, where, g).as_text().count("medjax_sample_") == 3
    with native.set_aside():
        assert "medjax_" not in all_of().lower(image, where, g).as_text()
        expected = all_of()(image, where, g)
    for ours, theirs in zip(all_of()(image, where, g), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * float(jnp.abs(theirs).max()))


def test_a_place_that_is_no_number_has_no_value():
    where = jnp.array([[1.5, jnp.nan, 0.5], [1.0, 1.0, 1.0]])
    value = jax.jit(lambda w: interpolation.sample(jnp.ones((3, 3, 1)), w, fill=None))(where)
    np.testing.assert_array_equal(value[:, 0], [1.0, jnp.nan, 1.0])


@pytest.mark.parametrize("axes", [(0, 0), (None, 0), (0, None)])
def test_interpolation_of_a_batch_equals_xla(axes):
    """Of images and places, or one of either for all; mapped over twice."""
    images = jax.random.normal(jax.random.key(0), (2, 3, 6, 7, 2))
    where = jax.random.uniform(jax.random.key(1), (2, 3, 2, 11), maxval=6.0)
    images, where = (x if a == 0 else x[0, 0] for x, a in zip((images, where), axes, strict=True))

    def all_of(i, w):
        form = jax.vmap(jax.vmap(lambda i, w: interpolation.sample(i, w, fill=None), axes), axes)
        value, back = jax.vjp(form, i, w)
        return value, *back(jnp.arange(value.size, dtype=value.dtype).reshape(value.shape))

    ours = jax.jit(all_of)(images, where)
    jax.clear_caches()
    with native.set_aside():
        expected = jax.jit(all_of)(images, where)
    for our, theirs in zip(ours, expected, strict=True):
        np.testing.assert_allclose(our, theirs, atol=1e-5 * float(jnp.abs(theirs).max()))


def test_a_library_that_interpolates_otherwise_is_not_kept(once, monkeypatch, tmp_path):
    def halved_by_the_library(image, where):
        value = sample(image, where)
        return value / 2 if native.is_loaded() else value

    sample = interpolation.sample
    monkeypatch.setattr(interpolation, "sample", halved_by_the_library)
    with pytest.raises(UserError, match="compiled interpolation differs from XLA's"):
        build.main(build.Config(cache_dir=str(tmp_path)))
    assert not native.library_path(tmp_path).exists()
