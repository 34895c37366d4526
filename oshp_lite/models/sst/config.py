"""Every choice of SST: what the paper states is the default, what it leaves open is a named field (facts A.9)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

from oshp_lite.errors import UserError
from oshp_lite.fields import bounded
from oshp_lite.labels.whole import WholeSpace, whole_space
from oshp_lite.models.base import MethodConfig

Masking = Literal["weights", "logits"]
Side = Literal["none", "original", "mapped"]


@dataclass(frozen=True)
class SSTConfig(MethodConfig):
    """Configuration of SST. A domain is named by its dataset (`synth-atr`) or its label space (`atr`).

    Two silences have no alternative worth a field: the scales of H_l are those of the text, 1/16, 1/8 and 1/4 (the
    formula H/4^l would give 1/64), and F is the map at 1/4, whose logits are brought to the photo's size.
    """

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "official": {},  # the authors' repository holds no code
        "paper": {},
        "lite": {
            "backbone": "lite",
            "backbone_norm": "batch",
            "encoder": "lite",
            "width": 64,
            "all_branches": False,
            "dim": 64,
            "layers": 2,
            "heads": 4,
            "hidden": 128,
            "window": 8,
        },
    }
    name: ClassVar[str] = "sst"

    # which labels: of the heads, coarse to fine; the one that a prediction takes ("": the first); of the frozen source
    domains: tuple[str, ...] = ()  # (): one nameless domain of `n_ids` labels
    head: str = ""
    source: tuple[str, ...] = ()  # dedicated parsing's second stage: the domains of the stage before
    target_share: float = bounded(1.0, 0, 1, above=True)  # of the head domain's training photos, drawn once (Table 5)

    # the parsing network; the paper names its parts only, the numbers are Mask2Former's and Swin's
    backbone: Literal["resnet50", "resnet101", "lite"] = "resnet50"
    backbone_norm: Literal["frozen", "batch"] = "frozen"  # BatchNorm of the backbone in training
    dim: int = bounded(256, 4)  # D
    layers: int = bounded(6, 1)  # of the deformable encoder
    heads: int = bounded(8, 1)
    points: int = bounded(4, 1)  # a head and level
    hidden: int = bounded(1024, 1)  # of the feed-forward parts
    window: int = bounded(7, 2)  # side of the decoder's windows, cells

    # the objective, Eq. 12 and 13
    alpha: float = bounded(10.0, 0)
    beta: float = bounded(1.0, 0)
    scr_weight: float = bounded(5.0, 0)  # lambda
    auxiliary: bool = True  # MSA, MSE and L_aux; without them and without transfer: "Multi-datasets"
    transfer: Literal["none", "dataset", "image", "both"] = "both"  # the levels of SCR
    pairs: Literal["full", "progressive"] = "full"

    # priors: adjacency "auto" takes the published graph, and contacts in training masks where none is published;
    # static "auto" takes the overlap of atoms, and hand-written attributes where a space has no atoms
    adjacency: Literal["auto", "graph", "measured", "ones", "identity", "shuffled"] = "auto"
    self_loops: bool = True
    static: Literal["auto", "atoms", "attributes", "words", "ones", "shuffled"] = "auto"
    words: str = ""  # file of word vectors, for static = "words"
    # product of S W by sqrt(D), as printed, or squashed; the first two give the same loss, a cosine has no scale
    dynamic: Literal["scaled", "plain", "sigmoid"] = "scaled"
    masking: Masking = "weights"  # M_intra and M_static multiply the attention after its softmax, or mask its logits

    # MSA
    masks: Literal["truth", "predicted"] = "truth"
    shrink: Literal["area", "nearest"] = "area"  # masks at the scales of H_l
    maximum: Literal["region", "product"] = "region"  # over a region, or of feature x mask (never below 0)
    absent: Literal["leave_out", "zeros"] = "leave_out"  # classes an image lacks: no keys, no part in SCR; or zeros

    # SCR
    stop_gradient: Side = "none"
    centred: bool = False  # the mean of the categories is removed before the cosine
    contrast: float = bounded(0.0, 0)  # weight of EOP-Net's contrastive term between originals and mapped ones
    scale_sum: Literal["sum", "mean"] = "sum"  # over the three scales
    image_pairs: Literal["all", "matched"] = "all"  # of two domains in a batch: every pair, or the i-th with the i-th
    share_scales: bool = False  # one set of weights for the three scales in MSA, MSE and MST
    source_image: Literal["target", "source"] = "target"  # what the frozen branch sees in the second stage

    # test: logits are summed over scales and mirrored photos
    test_scales: tuple[float, ...] = bounded((1.0,), 0.1, 8)
    test_flip: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("domains", "source", "test_scales"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise UserError(f"model option {name} is {list(values)}; no entry may occur twice")
        if not self.test_scales:
            raise UserError("model option test_scales is empty; give at least one scale, 1.0")
        if self.head and self.head not in self.domains:
            raise UserError(f"model option head is {self.head!r}; it must be one of the domains {list(self.domains)}")
        both = set(self.domains) & set(self.source)
        if both:
            raise UserError(f"the domain {min(both)} is both source and target; leave it out of model option source")
        if self.source and len(self.domains) != 1:
            raise UserError(f"dedicated parsing has one target domain, not {len(self.domains)}; shorten domains to it")
        if self.transfer != "none" and not self.auxiliary and (self.source or len(self.domains) > 1):
            raise UserError("transfer compares what the auxiliary modules learn; set transfer=none or auxiliary=true")
        if self.contrast and self.transfer == "none":
            raise UserError("contrast compares rows that transfer maps; set transfer, with scr_weight=0 for it alone")
        if self.static == "words" and not self.words:
            raise UserError("model option static is words but words names no file; give a file of word vectors")
        if self.dim % self.heads or self.dim % 4:
            raise UserError(f"model option dim is {self.dim}; it must be a multiple of 4 and of heads, {self.heads}")
        for domain in (*self.domains, *self.source):
            whole_space(domain)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the heads; a nameless one is "own"."""
        return self.domains or ("own",)

    @property
    def target(self) -> str:
        """The domain that a prediction takes."""
        return self.head or self.names[0]

    def space(self, domain: str) -> WholeSpace | None:
        """The label space of a domain; None for the nameless one."""
        return None if domain == "own" else whole_space(domain)

    def count(self, domain: str) -> int:
        """The number Z of a domain's labels, background included."""
        space = self.space(domain)
        return self.n_ids if space is None else space.n_raw

    @property
    def linked(self) -> tuple[tuple[str, str], ...]:
        """The pairs of domains that SCR links: all or a chain (Table 4); with a frozen source, it and the target."""
        if self.transfer == "none":
            return ()
        if self.source:
            return tuple((self.target, other) for other in self.source)
        names = self.domains
        if self.pairs == "progressive":
            return tuple(pairwise(names))
        return tuple((a, b) for i, a in enumerate(names) for b in names[i + 1 :])
