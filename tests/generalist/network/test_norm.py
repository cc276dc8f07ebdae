"""The normalisation of the transformer against PyTorch's own."""

import pytest
import torch

from generalist.network.norm import RMSNorm


@pytest.mark.parametrize("shape", [(5, 7, 16), (3, 16), (1, 1, 16)])
def test_outputs_and_gradients_equal_those_of_pytorch(shape):
    torch.manual_seed(0)
    ours, theirs = RMSNorm(16).double(), torch.nn.RMSNorm(16, eps=1e-6).double()
    with torch.no_grad():
        ours.weight.uniform_(0.5, 2)
    theirs.load_state_dict(ours.state_dict())
    x, grad = torch.randn(2, *shape, dtype=torch.float64)
    found = []
    for norm in (ours, theirs):
        given = x.clone().requires_grad_()
        norm(given).backward(grad)
        found.append((norm(x), given.grad, norm.weight.grad))
    for own, wanted in zip(*found, strict=True):
        torch.testing.assert_close(own, wanted, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(ours, x.clone().requires_grad_())


def test_zeros_stay_zeros():
    assert RMSNorm(4)(torch.zeros(2, 4)).abs().max() == 0
