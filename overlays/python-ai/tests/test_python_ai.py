"""Keras computes what is known beforehand, and the environment is of one piece with Debian's packages."""

import json
import textwrap

import pytest

PYTHON = "/opt/ai/bin/python"


def compute(host, code: str):
    """Run code in the image's environment and return the JSON value it prints last."""
    script = textwrap.dedent(code).replace("'", "'\\''")
    return json.loads(host.check_output(f"{PYTHON} -I -c '{script}'").splitlines()[-1])


@pytest.mark.parametrize("module", ["torch", "numpy", "scipy", "pandas", "sklearn", "matplotlib", "h5py"])
def test_heavy_modules_come_from_debian(host, module):
    code = f"import importlib.util as u, json; print(json.dumps(u.find_spec({json.dumps(module)}).origin))"
    assert compute(host, code).startswith("/usr/lib/python3/dist-packages/")


def test_keras_fits_saves_and_loads(host):
    backend, first, last, difference = compute(
        host,
        """
        import json, os, tempfile
        import keras, numpy as np
        keras.utils.set_random_seed(0)
        x = np.random.default_rng(0).normal(size=(128, 2)).astype("float32")
        y = x @ np.array([[1.0], [-1.0]], dtype="float32")
        model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        model.compile(optimizer=keras.optimizers.SGD(0.1), loss="mse")
        history = model.fit(x, y, epochs=10, verbose=0).history["loss"]
        path = os.path.join(tempfile.mkdtemp(), "model.keras")
        model.save(path)
        again = keras.models.load_model(path)
        difference = float(np.abs(model.predict(x, verbose=0) - again.predict(x, verbose=0)).max())
        print(json.dumps([keras.backend.backend(), history[0], history[-1], difference]))
        """,
    )
    assert backend == "torch"
    assert last < first / 100
    assert difference == 0.0


def test_keras_backend_is_set_for_logins_and_services(host):
    assert host.check_output("printenv KERAS_BACKEND") == "torch"
    assert "KERAS_BACKEND=torch" in host.check_output("systemctl show-environment").splitlines()
    service = "systemd-run --quiet --pipe --wait printenv KERAS_BACKEND"
    assert host.check_output(service) == "torch"
