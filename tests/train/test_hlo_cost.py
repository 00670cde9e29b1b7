"""Costs of operations, by hand and beside XLA's own sums."""

import jax
import jax.numpy as jnp
import pytest

from medjax.train.hlo_cost import count_costs


def compile_program(function, *shapes):
    arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return jax.jit(function).lower(*arguments).compile()


def entry(compiled):
    """The costs of what the program itself calls, what is fused counted once."""
    text = compiled.as_text()
    costs = count_costs(text)
    names = [
        line.split(" = ")[0].split("%")[-1] for line in text[text.index("ENTRY") :].split("\n")
    ]
    return [costs[name] for name in names if name in costs]


def test_a_product_of_matrices_by_hand():
    costs = entry(compile_program(lambda a, b: a @ b, (30, 50), (50, 70)))
    assert sum(c.flops for c in costs) == 2 * 30 * 50 * 70
    assert sum(c.moved_bytes for c in costs) == 4 * (30 * 50 + 50 * 70 + 30 * 70)


def convolve(x, w):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=layout)


def test_a_convolution_by_hand():
    compiled = compile_program(convolve, (2, 12, 10, 4), (3, 5, 4, 8))
    flops = 2 * (2 * 10 * 6 * 8) * (3 * 5 * 4)  # each output, each tap of each channel
    assert sum(c.flops for c in entry(compiled)) == flops


def test_sums_are_those_of_xla():
    def loss(w, x):
        return jnp.tanh(convolve(x, w)).sum()

    compiled = compile_program(jax.grad(loss), (3, 3, 4, 8), (2, 12, 12, 4))
    xla = compiled.cost_analysis()
    xla = xla[0] if isinstance(xla, list) else xla
    costs = entry(compiled)
    assert sum(c.flops for c in costs) == pytest.approx(xla["flops"], rel=0.1)
    assert sum(c.moved_bytes for c in costs) == pytest.approx(xla["bytes accessed"], rel=0.05)


def test_the_layer_that_an_operation_comes_from_is_named():
    @jax.named_call
    def layer(x):
        return x @ x

    costs = count_costs(compile_program(lambda x: layer(x).sum(), (64, 64)).as_text())
    assert any("layer" in c.source for c in costs.values())


COMPILED = """
ENTRY %main (x: f32[2,1,4,4,3], w: f32[1,3,3,3,5]) -> f32[1,3,3,3,5] {
  %x = f32[2,1,4,4,3]{4,3,2,1,0} parameter(0)
  %w = f32[1,3,3,3,5]{4,3,2,1,0} parameter(1)
  %y = f32[2,1,4,4,5]{4,3,2,1,0} custom-call(%x, %w), custom_call_target="medjax_conv_forward"
  ROOT %g = f32[1,3,3,3,5]{4,3,2,1,0} custom-call(%x, %y), \
custom_call_target="medjax_conv_kernel_gradient"
}
"""


def test_a_compiled_convolution_costs_what_its_products_are():
    costs = count_costs(COMPILED)
    products = 2 * 4 * 4 * 5 * 3 * 3 * 3  # results, and what each is summed over
    assert costs["y"].flops == costs["g"].flops == 2 * products
    assert costs["y"].moved_bytes == 4 * (2 * 16 * 3 + 27 * 5 + 2 * 16 * 5)


def test_of_a_large_array_what_is_picked_counts():
    def pick(images, rows):
        return images[rows].mean((1, 2))

    images, rows = jnp.zeros((1000, 30, 30)), jnp.zeros(4, jnp.int32)
    costs = entry(jax.jit(pick).lower(images, rows).compile())
    assert sum(c.moved_bytes for c in costs) < 4 * 4 * 30 * 30 * 4 + 10_000
