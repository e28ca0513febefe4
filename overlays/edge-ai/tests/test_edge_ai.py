"""The way of a network onto a small machine: trained with PyTorch, exported, and run by ONNX Runtime alone."""

import json

import pytest


def compute(host, code: str):
    """Run code with the system's Python and return the JSON value it prints last."""
    return json.loads(host.check_output("/usr/bin/python3 -I -c %s", code).splitlines()[-1])


@pytest.mark.parametrize("module", ["onnx", "onnxruntime"])
def test_modules_come_from_debian(host, module):
    code = f"import importlib.util as u, json; print(json.dumps(u.find_spec({json.dumps(module)}).origin))"
    assert compute(host, code).startswith("/usr/lib/python3/dist-packages/")


def test_onnxruntime_computes_what_numpy_computes(host):
    """A convolution, an activation and a matrix product, written down as a graph and once more in plain arithmetic."""
    providers, worst, largest = compute(
        host,
        '''
import json, numpy as np, onnx, onnx.parser, onnxruntime
model = onnx.parser.parse_model("""
<ir_version: 8, opset_import: ["" : 17]>
agraph (float[1, 2, 6, 6] x, float[3, 2, 3, 3] w, float[48, 4] m) => (float[1, 4] y) {
    c = Conv<kernel_shape = [3, 3]>(x, w)
    r = Relu(c)
    f = Flatten(r)
    y = MatMul(f, m)
}
""")
onnx.checker.check_model(model)
random = np.random.default_rng(0)
x, w, m = (random.normal(size=shape).astype("float32") for shape in ((1, 2, 6, 6), (3, 2, 3, 3), (48, 4)))
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
(got,) = session.run(None, {"x": x, "w": w, "m": m})
windows = np.lib.stride_tricks.sliding_window_view(x[0], (3, 3), axis=(1, 2))
plain = np.maximum(np.einsum("cijkl,ockl->oij", windows, w), 0).reshape(1, 48) @ m
print(json.dumps([session.get_providers(), float(np.abs(got - plain).max()), float(np.abs(plain).max())]))
''',
    )
    assert providers == ["CPUExecutionProvider"]
    assert largest > 1
    assert worst < 1e-4


def test_network_trained_by_torch_runs_in_onnxruntime(host):
    loss, worst, right = compute(
        host,
        """
import io, json, numpy as np, onnxruntime, torch
torch.manual_seed(0)
x = torch.randn(256, 2)
y = (x.norm(dim=1) > 1.2).long()
model = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
for _ in range(200):
    optimiser.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimiser.step()
exported = io.BytesIO()
torch.onnx.export(model, (x,), exported, input_names=["x"], output_names=["y"], dynamo=False)
session = onnxruntime.InferenceSession(exported.getvalue(), providers=["CPUExecutionProvider"])
(got,) = session.run(None, {"x": x.numpy()})
right = float((got.argmax(axis=1) == y.numpy()).mean())
print(json.dumps([loss.item(), float(np.abs(got - model(x).detach().numpy()).max()), right]))
""",
    )
    # Of points inside and outside of a circle; always saying "outside" is right for about half of them.
    assert right > 0.95
    assert loss < 0.2
    assert worst < 1e-4
