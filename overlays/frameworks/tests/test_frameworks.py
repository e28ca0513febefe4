"""The frameworks do not merely import: they compute numbers that are known beforehand."""

import json

import pytest

# The first import of PyTorch reads a few hundred MB; an emulated processor takes a minute for it.
PYTHON = "/usr/bin/python3 -I -c %s"


def compute(host, code: str):
    """Run code with the system's Python and return the JSON value it prints last."""
    return json.loads(host.check_output(PYTHON, code).splitlines()[-1])


@pytest.mark.parametrize("module", ["torch", "numpy", "scipy", "sklearn"])
def test_modules_come_from_debian(host, module):
    code = f"import importlib.util as u, json; print(json.dumps(u.find_spec({json.dumps(module)}).origin))"
    assert compute(host, code).startswith("/usr/lib/python3/dist-packages/")


def test_torch_multiplies_and_differentiates(host):
    result = compute(
        host,
        """
import json, torch
a = torch.arange(6, dtype=torch.float64).reshape(2, 3)
x = torch.tensor([2.0, -1.0], dtype=torch.float64, requires_grad=True)
(x ** 3 + x.prod()).sum().backward()
print(json.dumps([(a @ a.T).tolist(), x.grad.tolist(), torch.cuda.is_available()]))
""",
    )
    # d/dx0 of x0^3 + x1^3 + 2 x0 x1 at (2, -1) is 3*4 + 2*(-1) = 10, and d/dx1 is 3*1 + 2*2 = 7.
    assert result == [[[5.0, 14.0], [14.0, 50.0]], [10.0, 7.0], False]


def test_torch_learns(host):
    loss = compute(
        host,
        """
import json, torch
torch.manual_seed(0)
x = torch.linspace(-1, 1, 64)[:, None]
y = 3 * x - 2
model = torch.nn.Linear(1, 1)
optimiser = torch.optim.SGD(model.parameters(), lr=0.5)
for _ in range(100):
    optimiser.zero_grad()
    loss = torch.nn.functional.mse_loss(model(x), y)
    loss.backward()
    optimiser.step()
print(json.dumps([loss.item(), model.weight.item(), model.bias.item()]))
""",
    )
    assert loss == pytest.approx([0.0, 3.0, -2.0], abs=1e-3)


def test_torch_trains_a_network_on_what_no_line_separates(host):
    """Exclusive or: a linear model's loss stays at log 2 or above, and half of its answers are wrong."""
    loss, answers = compute(
        host,
        """
import json, torch
torch.manual_seed(1)
x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
model = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
optimiser = torch.optim.Adam(model.parameters(), lr=0.05)
for _ in range(300):
    optimiser.zero_grad()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(model(x), y)
    loss.backward()
    optimiser.step()
print(json.dumps([loss.item(), (model(x) > 0).int().flatten().tolist()]))
""",
    )
    assert answers == [0, 1, 1, 0]
    assert loss < 0.05


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
