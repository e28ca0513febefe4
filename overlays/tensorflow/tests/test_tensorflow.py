"""TensorFlow computes numbers that are known beforehand."""

import json

import pytest

# The import alone, hundreds of MB, takes an emulated processor minutes.
pytestmark = pytest.mark.long
# One process answers all.
SCRIPT = """
import json
import tensorflow as tf

a = tf.reshape(tf.range(6.0), (2, 3))
x = tf.Variable([2.0, -1.0])
with tf.GradientTape() as tape:
    y = tf.reduce_sum(x**3) + 2 * x[0] * x[1]
compiled = tf.function(lambda n: tf.reduce_sum(tf.range(n) ** 2))
print(json.dumps({
    "product": tf.matmul(a, a, transpose_b=True).numpy().tolist(),
    "gradient": tape.gradient(y, x).numpy().tolist(),
    "compiled": int(compiled(5)),
    "devices": [device.device_type for device in tf.config.list_physical_devices()],
}))
"""


@pytest.fixture(scope="module")
def computed(host):
    words = "TF_CPP_MIN_LOG_LEVEL=3 /opt/ai/bin/python -c %s"
    return json.loads(host.check_output(words, SCRIPT).splitlines()[-1])


def test_tensorflow_multiplies_and_differentiates(computed):
    assert computed["product"] == [[5.0, 14.0], [14.0, 50.0]]
    # d/dx0 of x0^3 + x1^3 + 2 x0 x1 at (2, -1) is 3*4 + 2*(-1) = 10, and d/dx1 is 3*1 + 2*2 = 7.
    assert computed["gradient"] == [10.0, 7.0]


def test_tensorflow_compiles_a_function(computed):
    assert computed["compiled"] == 0 + 1 + 4 + 9 + 16


def test_tensorflow_is_the_build_for_processors(computed):
    assert computed["devices"] == ["CPU"]
