"""Keras learns on every framework that is there, in an environment of one piece with Debian's packages."""

import json
import textwrap

import pytest

PYTHON = "/opt/ai/bin/python"
LINE = """
import json, keras, numpy as np
keras.utils.set_random_seed(0)
inputs = np.linspace(-1, 1, 64, dtype="float32")[:, None]
model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
model.compile(optimizer=keras.optimizers.SGD(0.5), loss="mse")
model.fit(inputs, 3 * inputs - 2, epochs=40, batch_size=64, verbose=0)
values = [float(keras.ops.convert_to_numpy(value).squeeze()) for value in model.weights]
print(json.dumps([keras.backend.backend(), *values]))
"""


def compute(host, code, **environment):
    """Run code in the image's environment and return the JSON value it prints last."""
    words = " ".join(f"{name}={value}" for name, value in {"TF_CPP_MIN_LOG_LEVEL": 3, **environment}.items())
    return json.loads(host.check_output(f"{words} {PYTHON} -I -c %s", textwrap.dedent(code)).splitlines()[-1])


def test_environment_is_consistent(host):
    """Every requirement of every wheel is met by a wheel or a Debian package of a fitting version."""
    problems = compute(
        host,
        """
        import importlib.metadata as metadata, json
        from packaging.requirements import Requirement
        from packaging.utils import canonicalize_name

        installed = {}
        for found in metadata.distributions():
            installed.setdefault(canonicalize_name(found.metadata["Name"]), found)
        problems = []
        for name, found in installed.items():
            if not str(found.locate_file("")).startswith("/opt/ai"):
                continue  # what Debian built against each other is Debian's to check
            for text in found.requires or []:
                need = Requirement(text)
                if need.marker and not need.marker.evaluate({"extra": ""}):
                    continue
                have = installed.get(canonicalize_name(need.name))
                if have is None or not need.specifier.contains(have.version, prereleases=True):
                    problems.append(f"{name} needs {text}, has {have and have.version}")
        print(json.dumps(problems))
        """,
    )
    assert problems == []


# Each reads its framework from disk once more, which other tests have done.
@pytest.mark.long
@pytest.mark.parametrize("backend", ["torch", "tensorflow", "jax"])
def test_keras_learns_a_line_with_each(host, backend, manifest):
    overlays = {"torch": {"frameworks"}, "tensorflow": {"tensorflow"}, "jax": {"jax"}}[backend]
    if not ({"cuda-frameworks", *overlays} & set(manifest["overlays"])):
        pytest.skip(f"{backend} is not in this image")
    used, slope, offset = compute(host, LINE, KERAS_BACKEND=backend)
    assert used == backend
    assert [slope, offset] == pytest.approx([3.0, -2.0], abs=1e-2)


def test_login_shell_finds_the_environment(host):
    assert host.check_output("bash -lc 'command -v python'") == PYTHON
