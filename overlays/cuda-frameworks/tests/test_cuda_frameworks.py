"""The frameworks compute numbers that are known beforehand, where there is a GPU on it, and share one CUDA."""

import json

import pytest

# Importing each takes an emulated processor minutes, so one process a framework answers all.
TORCH = """
import json, torch
device = "cuda" if torch.cuda.is_available() else "cpu"
a = torch.arange(6.0, device=device).reshape(2, 3)
x = torch.tensor([2.0, -1.0], device=device, requires_grad=True)
(x ** 3 + x.prod()).sum().backward()
print(json.dumps({
    "product": (a @ a.T).tolist(), "gradient": x.grad.tolist(), "gpus": torch.cuda.device_count(),
    "cuda": torch.version.cuda,
}))
"""
TENSORFLOW = """
import json, tensorflow as tf
a = tf.reshape(tf.range(6.0), (2, 3))
x = tf.Variable([2.0, -1.0])
with tf.GradientTape() as tape:
    y = tf.reduce_sum(x**3) + 2 * x[0] * x[1]
print(json.dumps({
    "product": tf.matmul(a, a, transpose_b=True).numpy().tolist(), "gradient": tape.gradient(y, x).numpy().tolist(),
    "gpus": len(tf.config.list_physical_devices("GPU")), "cuda": tf.sysconfig.get_build_info()["cuda_version"],
}))
"""
JAX = """
import importlib.metadata, json, jax, jax.numpy as jnp
a = jnp.arange(6.0).reshape(2, 3)
function = lambda x: (x**3).sum() + 2 * x[0] * x[1]
print(json.dumps({
    "product": (a @ a.T).tolist(), "gradient": jax.jit(jax.grad(function))(jnp.array([2.0, -1.0])).tolist(),
    "gpus": sum(device.platform == "gpu" for device in jax.devices()),
    "cuda": importlib.metadata.version("nvidia-cuda-runtime-cu12"),
}))
"""


def compute(host, script, **environment):
    words = " ".join(f"{name}={value}" for name, value in {"TF_CPP_MIN_LOG_LEVEL": 3, **environment}.items())
    return json.loads(host.check_output(f"{words} /opt/ai/bin/python -I -c %s", script).splitlines()[-1])


@pytest.fixture(scope="module", params=[TORCH, TENSORFLOW, JAX], ids=["torch", "tensorflow", "jax"])
def computed(host, request):
    return compute(host, request.param)


def test_framework_multiplies_and_differentiates(computed):
    assert computed["product"] == [[5.0, 14.0], [14.0, 50.0]]
    # d/dx0 of x0^3 + x1^3 + 2 x0 x1 at (2, -1) is 3*4 + 2*(-1) = 10, and d/dx1 is 3*1 + 2*2 = 7.
    assert computed["gradient"] == [10.0, 7.0]


def test_framework_has_every_gpu_of_the_machine(host, computed):
    assert computed["gpus"] == len(host.run("ls /proc/driver/nvidia/gpus").stdout.split())


def test_framework_is_for_the_cuda_of_the_driver(computed):
    """Within one major version any release runs on a driver of that version (CUDA Compatibility)."""
    assert computed["cuda"].split(".")[0] == "12"


@pytest.mark.parametrize("library", ["libcublas", "libcublasLt", "libcudnn", "libcudart", "libcufft", "libnccl"])
def test_cuda_is_there_once(host, library):
    found = host.check_output(f"find /opt/ai /usr -xdev -name '{library}.so.[0-9]*' -type f").split()
    assert len(found) == 1, found
