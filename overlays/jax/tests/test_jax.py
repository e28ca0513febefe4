"""JAX computes numbers that are known beforehand."""

import json

import pytest

# Importing and compiling take an emulated processor a minute, so one process answers all.
SCRIPT = """
import json
import jax, jax.numpy as jnp

a = jnp.arange(6.0).reshape(2, 3)
function = lambda x: (x**3).sum() + 2 * x[0] * x[1]
print(json.dumps({
    "product": (a @ a.T).tolist(),
    "gradient": jax.jit(jax.grad(function))(jnp.array([2.0, -1.0])).tolist(),
    "mapped": jax.vmap(lambda n: n**2)(jnp.arange(5)).tolist(),
    "devices": [device.platform for device in jax.devices()],
}))
"""


@pytest.fixture(scope="module")
def computed(host):
    return json.loads(host.check_output("/opt/ai/bin/python -c %s", SCRIPT).splitlines()[-1])


def test_jax_multiplies_and_differentiates_what_it_compiled(computed):
    assert computed["product"] == [[5.0, 14.0], [14.0, 50.0]]
    # d/dx0 of x0^3 + x1^3 + 2 x0 x1 at (2, -1) is 3*4 + 2*(-1) = 10, and d/dx1 is 3*1 + 2*2 = 7.
    assert computed["gradient"] == [10.0, 7.0]


def test_jax_maps_a_function_over_an_array(computed):
    assert computed["mapped"] == [0, 1, 4, 9, 16]


def test_jax_computes_on_processors(computed):
    assert set(computed["devices"]) == {"cpu"}
