"""One-shot human parsing, small and readable: data, models, training, evaluation, reproduction.

`from oshp_lite import EOPNet, Episode` is all a first experiment needs.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oshp_lite.data.episode import Episode
    from oshp_lite.models.eopnet import EOPNet
    from oshp_lite.models.popnet import POPNet

__version__ = "0.1.0"
__all__ = ["EOPNet", "Episode", "POPNet", "__version__"]

_HOMES = {
    "EOPNet": "oshp_lite.models.eopnet",
    "Episode": "oshp_lite.data.episode",
    "POPNet": "oshp_lite.models.popnet",
}


def __getattr__(name: str) -> Any:
    """Load the public names when they are first asked for, so that the command line starts without torch."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'oshp_lite' has no attribute {name!r}")
