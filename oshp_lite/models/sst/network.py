"""SST as a method: the parsing network with its heads, the training-only modules beside it, and the objective."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self, cast

import torch
from torch import Tensor, nn

from oshp_lite.data.domains import DomainBatch
from oshp_lite.data.episode import Episode
from oshp_lite.errors import UserError
from oshp_lite.labels import LabelSpace
from oshp_lite.models.base import OneShotModel, Parsing, PredictOptions, evaluating
from oshp_lite.models.modules.layers import resize
from oshp_lite.models.modules.losses import pixel_loss
from oshp_lite.models.sst.backbone import build_backbone, freeze_norms
from oshp_lite.models.sst.config import SSTConfig
from oshp_lite.models.sst.decoder import Decoder
from oshp_lite.models.sst.deformable import PixelEncoder
from oshp_lite.models.sst.priors import adjacency, similarity
from oshp_lite.models.sst.semantics import Aggregation, Enhancement, auxiliary_logits, mean_cosine
from oshp_lite.models.sst.transfer import Semantics, Transfer, consistency, pair_up


class SST(OneShotModel):
    """Parsing network (backbone, deformable encoder, window decoder), one 1x1 head a domain, and the modules.

    Universal parsing: `domains` share the network, MSA and MSE belong to a domain, MST to a pair of them. Dedicated
    parsing: `source` names the domains of an earlier network, which stays frozen beside the one that learns. A
    prediction takes the head of `config.target` and needs no module; `plain` is the network without them. Not
    one-shot: no support is looked at.
    """

    Config = SSTConfig
    config: SSTConfig
    unrestricted = True
    ready = False  # whether every prior is known to be there
    resampling = "bilinear"

    def build(self) -> None:
        """Make network and modules. UserError for a domain without what its prior needs, or without transformers."""
        config = self.config
        self.config = config = replace(config, way="k", n_ids=config.count(config.target))
        self.n_ids, dim = config.n_ids, config.dim
        self.encoder = build_backbone(config)
        first, *widths = self.encoder.widths
        size: dict[str, int] = {"heads": config.heads, "hidden": config.hidden}
        self.pixels = PixelEncoder(widths, dim, layers=config.layers, points=config.points, **size)
        self.decoder = Decoder(first, dim, window=config.window, **size)
        self.heads = nn.ModuleDict({name: nn.Conv2d(dim, config.count(name), 1) for name in config.names})
        self.aggregation, self.enhancement, self.transfers = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for name in config.names if config.auxiliary else ():
            self.aggregation[name] = Aggregation(config, config.count(name))
            count, how = config.count(name), {"self_loops": config.self_loops, "seed": self.seed}
            touching = adjacency(config.space(name), count, config.adjacency, **how)  # type: ignore[arg-type]
            self.enhancement[name] = Enhancement(config, touching)
        for one, other in config.linked:
            of, to = cast("LabelSpace", config.space(one)), cast("LabelSpace", config.space(other))
            # word vectors lie in a file of the user's, which a trained network must not need: see `set_priors`
            kind = "ones" if config.static == "words" else config.static
            self.transfers[f"{one}>{other}"] = Transfer(config, similarity(of, to, kind, seed=self.seed))
        if config.source:
            alone = replace(config, domains=config.source, source=(), head="", transfer="none", contrast=0.0)
            self.source = SST(alone, seed=self.seed).requires_grad_(False)
        self.train()

    def set_priors(self, measured: Mapping[str, Tensor] | None = None) -> None:
        """Fill in the priors that `build` cannot know: measured adjacencies float [Z,Z] by domain, and word vectors.

        UserError for word vectors that cannot be read or lack a word.
        """
        config = self.config
        for name, touching in (measured or {}).items():
            cast(Enhancement, self.enhancement[name]).adjacency.copy_(touching)
        if config.static == "words":
            for key, transfer in self.transfers.items():
                of, to = (cast("LabelSpace", config.space(name)) for name in key.split(">"))
                cast(Transfer, transfer).static.copy_(similarity(of, to, "words", words=config.words))

    @property
    def unmeasured(self) -> list[str]:
        """Domains whose adjacency must be measured before training."""
        parts = cast("dict[str, Enhancement]", dict(self.enhancement.items()))
        return [name for name, part in parts.items() if bool(part.adjacency.isnan().any())]

    def train(self, mode: bool = True) -> Self:
        """Switch the mode; the frozen source stays in evaluation mode, frozen BatchNorm too."""
        super().train(mode)
        if self.config.backbone_norm == "frozen":
            freeze_norms(self.encoder)
        if self.config.source and hasattr(self, "source"):
            self.source.eval()
        return self

    # ------------------------------------------------------------------------------------------------ the network

    def features(self, image: Tensor) -> list[Tensor]:
        """Image float [B,3,H,W] -> H_1, H_2, H_3 float [B,D,h,w] at strides 16, 8 and 4; H_3 is F."""
        at4, *deeper = self.encoder.pyramid(image)
        return cast("list[Tensor]", self.decoder(at4, self.pixels(deeper)))

    def logits(self, features: Tensor, domain: str, size: Sequence[int]) -> Tensor:
        """F float [B,D,h,w] -> a domain's logits float [B,Z,*size]. UserError for a domain without a head."""
        if domain not in self.heads:
            raise UserError(f"this network has no head for {domain!r}; it parses {', '.join(self.heads)}")
        return resize(self.heads[domain](features), size, "bilinear")

    def forward(self, batch: Episode, *, progress: float | None = None) -> Parsing:
        """Parse by the head of `config.target`; `.fine` float [B,n_ids,H,W], and H_1 to H_3 for the losses."""
        batch = self._checked(batch)
        maps = self.features(batch.query_image)
        fine = self.logits(maps[-1], self.config.target, batch.query_image.shape[-2:])
        return Parsing(fine=fine, extras={f"h{level}": one for level, one in enumerate(maps, 1)})

    def _checked(self, batch: Episode) -> Episode:
        """As `checked`; ids of a batch of domains are looked at by domain, when the losses are computed."""
        if not isinstance(batch, DomainBatch):
            return self.checked(batch)
        zeros = torch.zeros_like(batch.support_foreground)
        self.checked(replace(batch, query_mask=None, query_foreground=None, support_mask=zeros))
        return batch

    @torch.no_grad()
    def parse(self, image: Tensor, domains: Sequence[str] = ()) -> dict[str, Tensor]:
        """Parse images float [B,3,H,W] in all label spaces at once: ids int64 [B,H,W] by domain (default: every one).

        One pass of the network, no module. UserError for a domain without a head.
        """
        with evaluating(self):
            maps = self.features(image)
            names = domains or self.config.names
            return {name: self.logits(maps[-1], name, image.shape[-2:]).argmax(1) for name in names}

    def parse_at_test(self, batch: Episode, options: PredictOptions) -> Parsing:
        """The forward pass of a prediction; with `test_scales` and `test_flip` logits are summed over views."""
        config, image = self.config, batch.query_image
        if config.test_scales == (1.0,) and not config.test_flip:
            return super().parse_at_test(batch, options)
        size = image.shape[-2:]
        space = config.space(config.target)
        order = list(range(config.n_ids))
        for left, right in () if space is None else space.sides:
            order[left], order[right] = right, left
        total: Tensor | None = None
        for scale in config.test_scales:
            view = resize(image, [max(16, round(side * scale)) for side in size], "bilinear")
            for flip in (False, True)[: 1 + config.test_flip]:
                maps = self.features(view.flip(-1) if flip else view)
                logits = self.logits(maps[-1], config.target, size)
                logits = logits.flip(-1)[:, order] if flip else logits
                total = logits if total is None else total + logits
        return Parsing(fine=cast(Tensor, total))

    def turned_to(self, domain: str) -> SST:
        """The same network (its weights are shared, not copied) with another head for predictions."""
        view = copy.copy(self)
        view.config = replace(self.config, head=domain, n_ids=self.config.count(domain))
        view.n_ids = view.config.n_ids
        return view

    def winning_classes(self, batch: Episode, options: PredictOptions) -> Tensor | None:
        """Every id may win; with `restrict` those of the support."""
        return super().winning_classes(batch, options) if options.restrict and not batch.one_way else None

    def decide(self, logits: Tensor, batch: Episode) -> Tensor:
        """The ids of largest logit; in a 1-way episode 1 where the target class wins."""
        ids = super().decide(logits, batch)
        return ids if batch.class_ids is None else (ids == batch.class_ids[:, None, None]).long()

    def plain(self) -> SST:
        """A copy without modules and source: what is left at test, with the same predictions to the bit."""
        bare = SST(replace(self.config, auxiliary=False, transfer="none", contrast=0.0, source=()), seed=self.seed)
        own = bare.state_dict()
        bare.load_state_dict({name: copy.deepcopy(value) for name, value in self.state_dict().items() if name in own})
        bare.record = self.record
        return bare.to(next(self.parameters())).train(self.training)

    # ---------------------------------------------------------------------------------------------- the objective

    def rows_of(self, batch: Episode) -> dict[str, Tensor]:
        """Which images of a batch belong to which domain: positions int64 [N] by name.

        Raises UserError when a domain has no image; the domains are the network's own, and with `source_image` "source"
        those of the frozen network behind them.
        """
        names = [*self.config.names, *(self.config.source if self.config.source_image == "source" else ())]
        device, domain = batch.query_image.device, getattr(batch, "domain", None)
        if domain is None:
            domain = torch.zeros(len(batch), dtype=torch.long)
        rows = {name: (domain == number).nonzero()[:, 0].to(device) for number, name in enumerate(names)}
        lacking = [name for name, positions in rows.items() if not len(positions)]
        if lacking:
            raise UserError(f"the batch holds no image of {', '.join(lacking)}; every batch needs one of each domain")
        return rows

    def semantics(self, domain: str, features: Sequence[Tensor], mask: Tensor | None) -> Semantics:
        """MSA and MSE of images of one domain; features as `features` gives them, mask int64 [B,H,W] of its ids.

        mask None (or `masks` "predicted"): what the domain's head predicts.
        """
        if mask is None or self.config.masks == "predicted":
            mask = self.heads[domain](features[-1].detach()).argmax(1)
        pooled, present = self.aggregation[domain](features, mask)
        return Semantics(self.enhancement[domain](pooled, present), pooled, present)

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return `seg`, `aux`, `scr_dataset`, `scr_image` (and `contrast`) and `total`, each float [] (Eq. 12, 13).

        `cosine`, no part of the total, is the mean cosine between different categories in X_3 over the domains: near 1
        the consistency loss has made all of them parallel. ValueError without query masks or with foreign ids,
        UserError for a batch that lacks a domain and for an adjacency that is not measured yet.
        """
        if batch.query_mask is None:
            raise ValueError("losses need query_mask and query_foreground in the episode")
        if not self.ready and self.unmeasured:
            names = ", ".join(self.unmeasured)
            raise UserError(f"no label graph is published for {names}; measure contacts first (set_priors)")
        self.ready = True
        batch, config, label = batch.batched(), self.config, cast(Tensor, batch.batched().query_mask)
        rows, maps = self.rows_of(batch), [parsing.extras[f"h{level}"] for level in (1, 2, 3)]
        seg, aux, known = [], [], {}
        for name in config.names:
            own, mask = [one[rows[name]] for one in maps], label[rows[name]]
            self._check_ids(name, mask)
            whole = parsing.fine[rows[name]] if name == config.target else self.logits(own[-1], name, mask.shape[-2:])
            seg.append(pixel_loss(whole, mask))
            if config.auxiliary:
                known[name] = self.semantics(name, own, mask)
                logits = auxiliary_logits(own[-1], known[name].rows[-1])
                aux.append(pixel_loss(resize(logits, mask.shape[-2:], "bilinear"), mask))
        terms = {"seg": torch.stack(seg).sum()}
        total = config.alpha * terms["seg"]
        if aux:
            terms["aux"] = torch.stack(aux).sum()
            terms["cosine"] = torch.stack([mean_cosine(one.rows[-1].detach()) for one in known.values()]).mean()
            total = total + config.beta * terms["aux"]
        for key, transfer in self.transfers.items():
            one, other = key.split(">")
            if other not in known:
                known[other] = self._seen_by_source(other, batch, label, rows)
            same = bool(config.source) and config.source_image == "target"
            how = "matched" if same else config.image_pairs
            positions = pair_up(len(known[one].rows[0]), len(known[other].rows[0]), how)
            pair = zip((one, other), positions, strict=True)
            sides = [known[name].at(index.to(label.device)) for name, index in pair]
            for term, value in consistency(cast(Transfer, transfer), *sides).items():
                terms[term] = terms[term] + value if term in terms else value
        for term in ("scr_dataset", "scr_image"):
            total = total + config.scr_weight * terms[term] if term in terms else total
        total = total + config.contrast * terms["contrast"] if "contrast" in terms else total
        return {**terms, "total": total}

    @torch.no_grad()
    def _seen_by_source(self, domain: str, batch: Episode, label: Tensor, rows: Mapping[str, Tensor]) -> Semantics:
        """What the frozen source says: of the target's images, which have no labels of its kind, or of its own."""
        lent = self.config.source_image == "target"
        chosen = rows[self.config.target if lent else domain]
        mask = None if lent else label[chosen]
        if mask is not None:
            self._check_ids(domain, mask)
        return self.source.semantics(domain, self.source.features(batch.query_image[chosen]), mask)

    def _check_ids(self, domain: str, mask: Tensor) -> None:
        count = self.config.count(domain)
        wrong = mask[(mask >= count) & (mask != 255)]
        if len(wrong):
            raise ValueError(f"a mask of {domain} holds id {int(wrong[0])}; ids below {count} and 255 are allowed")
