"""Equations as the AAAI paper prints them, where the released code (and so our network) uses another form.

They are kept for notebook 05 and for the equation table; no network calls them.
"""

from __future__ import annotations

import torch
from torch import Tensor


def background_distance(maps: Tensor) -> Tensor:
    """Return m_bg, the mean of 1 - m_c over the classes (AAAI, Eq. 4): float [B,C-1,h,w] -> [B,h,w], in [0,2]."""
    return (1 - maps).mean(1)


def linear_background_probabilities(scores: Tensor, background: Tensor) -> Tensor:
    """Probabilities whose background term is not exponentiated, as AAAI's Eqs. (3) and (4) print them.

    scores float [B,C-1,h,w] of the foreground classes, background float [B,h,w] -> [B,C,h,w], background first. The
    channels sum to one, but a negative background score gives a negative "probability", so no logarithm of it exists;
    the released code uses an ordinary softmax instead (facts D 36).
    """
    terms = torch.cat([background[:, None], scores.exp()], 1)
    return terms / terms.sum(1, keepdim=True)
