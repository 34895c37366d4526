"""Mistakes found once by comparing with an independent reference of the released network; none may come back."""

from __future__ import annotations

import torch

from oshp_lite.nn.prototypes import smooth_prototypes


def test_momentum_is_as_exact_as_the_prototypes() -> None:
    """Float64 prototypes are blended in float64: a weight rounded to float32 showed at 1e-10 in the logits."""
    generator = torch.Generator().manual_seed(3)
    static = torch.randn(3, 4, 8, generator=generator, dtype=torch.float64).requires_grad_()
    bank = torch.randn(4, 8, generator=generator, dtype=torch.float64)
    bank[2] = 0
    used, rows = smooth_prototypes(static, bank, 0.999)
    wanted = bank.clone()
    for c in range(4):
        for b in range(3):
            row = static.detach()[b, c]
            wanted[c] = row if wanted[c].sum() == 0 else 0.999 * wanted[c] + 0.001 * row
            torch.testing.assert_close(used[b, c].detach(), wanted[c], rtol=0, atol=1e-14)
    torch.testing.assert_close(rows, wanted, rtol=0, atol=1e-14)
    used.sum().backward()
    share = torch.full_like(static, 0.001).detach()
    share[0, 2] = 1
    assert static.grad is not None
    torch.testing.assert_close(static.grad, share, rtol=0, atol=1e-14)
