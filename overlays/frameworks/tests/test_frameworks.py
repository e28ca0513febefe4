"""The frameworks do not merely import: they compute numbers that are known beforehand."""

import json

import pytest

PYTHON = "/usr/bin/python3 -I -c %s"
# The import reads a few hundred MB, for which an emulated processor takes a minute, so one process answers all.
TORCH = """
import json, torch

a = torch.arange(6, dtype=torch.float64).reshape(2, 3)
x = torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)
(x**3 + x.prod()).sum().backward()
found = {"product": (a @ a.T).tolist(), "gradient": x.grad.tolist(), "cuda": torch.cuda.is_available()}


def train(model, optimiser, loss_of, inputs, targets, steps):
    for _ in range(steps):
        optimiser.zero_grad()
        loss = loss_of(model(inputs), targets)
        loss.backward()
        optimiser.step()
    return loss.item()


torch.manual_seed(0)
inputs = torch.linspace(-1, 1, 64)[:, None]
model = torch.nn.Linear(1, 1)
optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
loss = train(model, optimiser, torch.nn.functional.mse_loss, inputs, 3 * inputs - 2, 100)
found["line"] = [loss, model.weight.item(), model.bias.item()]

torch.manual_seed(1)
inputs = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
targets = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
model = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
loss_of = torch.nn.functional.binary_cross_entropy_with_logits
found["loss"] = train(model, optimiser, loss_of, inputs, targets, 300)
found["answers"] = (model(inputs) > 0).int().flatten().tolist()
print(json.dumps(found))
"""


def compute(host, code: str):
    """Run code with the system's Python and return the JSON value it prints last."""
    return json.loads(host.check_output(PYTHON, code).splitlines()[-1])


@pytest.fixture(scope="module")
def torch_computed(host):
    return compute(host, TORCH)


@pytest.mark.parametrize("module", ["torch", "numpy", "scipy", "sklearn"])
def test_modules_come_from_debian(host, module):
    code = f"import importlib.util as u, json; print(json.dumps(u.find_spec({json.dumps(module)}).origin))"
    assert compute(host, code).startswith("/usr/lib/python3/dist-packages/")


def test_torch_multiplies_and_differentiates(torch_computed):
    assert torch_computed["product"] == [[5.0, 14.0], [14.0, 50.0]]
    # d/dx0 of x0^3 + x1^3 + 2 x0 x1 at (2, -1) is 3*4 + 2*(-1) = 10, and d/dx1 is 3*1 + 2*2 = 7.
    assert torch_computed["gradient"] == [10.0, 7.0]
    assert not torch_computed["cuda"]


def test_torch_learns(torch_computed):
    assert torch_computed["line"] == pytest.approx([0.0, 3.0, -2.0], abs=1e-3)


def test_torch_trains_a_network_on_what_no_line_separates(torch_computed):
    """Exclusive or: a linear model's loss stays at log 2 or above, and half of its answers are wrong."""
    assert torch_computed["answers"] == [0, 1, 1, 0]
    assert torch_computed["loss"] < 0.05


def test_sklearn_recovers_coefficients(host):
    result = compute(
        host,
        """
import json, numpy as np
from sklearn.linear_model import LinearRegression
x = np.random.default_rng(0).normal(size=(200, 3))
model = LinearRegression().fit(x, x @ [1.5, -2.0, 0.5] + 4.0)
print(json.dumps([*model.coef_, model.intercept_]))
""",
    )
    assert result == pytest.approx([1.5, -2.0, 0.5, 4.0], abs=1e-9)


def test_blas_is_the_fast_one(host):
    libraries = compute(
        host,
        """
import json, numpy
from threadpoolctl import threadpool_info
print(json.dumps([entry["internal_api"] for entry in threadpool_info()]))
""",
    )
    assert "openblas" in libraries
