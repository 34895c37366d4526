"""A slow, literal POPNet stage in float64: the oracle for the package, one loop per loop of the released code.

Written from the description of the stage; it works on official names and shares no code with the package.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from nn_reference import Reference
from torch import Tensor

DATA = Path(__file__).parent / "data"


def popnet_shapes(n_ids: int = 18) -> dict[str, list[int]]:
    """Names and shapes of the released one-stage k-way network (the encoder's are EOP-Net's)."""
    eopnet = json.loads((DATA / "official_names.json").read_text())["kway"]
    delta = json.loads((DATA / "official_names_popnet.json").read_text())
    shapes = {name: shape for name, shape in eopnet.items() if name not in set(delta["absent"])}
    return {**shapes, **delta["own"], "prototype": [n_ids, 256]}


@dataclass
class StageReference(Reference):
    """One one-shot stage over `state` (float64, official names); `mode` is "fixed" or "ucs"."""

    mode: str = "fixed"

    def fuse(self, previous: Tensor, own: Tensor) -> Tensor:
        x = torch.cat([self.up(previous, own.shape[-2:]), own], 1)
        for number in (0, 1):
            x = self.unit(x, f"feature_fusion.{number}.atrous_convolution", relu=True)
        return x

    def guided(self, query: Tensor, m: Tensor) -> Tensor:
        return self.trunk(m[:, None] * query + query, "decoder2", "decoder3.0", "classifier_6")

    def parse(
        self, batch: dict[str, Tensor], static: bool, previous: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """AGM and NCM logits at the query's size."""
        query, support = self.encode(batch["query_image"]), self.encode(batch["support_image"])
        if previous is not None:
            query, support = self.fuse(previous[0], query), self.fuse(previous[1], support)
        mask = self.shrink(batch["support_mask"], support.shape[-2:])
        agm, ncm = (self.fixed if self.mode == "fixed" else self.ucs)(query, support, mask, static)
        size = batch["query_image"].shape[-2:]
        return self.up(agm, size), self.up(self.state["scaler"] * ncm, size)

    def fixed(self, query: Tensor, support: Tensor, mask: Tensor, static: bool) -> tuple[Tensor, Tensor]:
        bank = self.state["prototype"]
        agm, ncm = [], []
        agm_bg = ncm_bg = torch.zeros((), dtype=query.dtype)
        for i in range(1, len(bank)):
            means = self.pool(support, mask, i)
            used = [self.used_prototype(bank, i, means[b], static) for b in range(len(query))]
            m = torch.stack([self.cosine(query[b], used[b]) for b in range(len(query))])
            ncm.append(self.conv(m[:, None], "after_sim_fg"))
            ncm_bg = ncm_bg + self.conv(1 - m[:, None], "after_sim_bg")
            score = self.guided(query, m)
            agm.append(score[:, :1])
            agm_bg = agm_bg + score[:, 1:]
        share = len(bank) - 1
        return (
            torch.cat([self.conv(agm_bg / share, "bg_att_fusion"), *agm], 1),
            torch.cat([self.conv(ncm_bg / share, "bg_sim_fusion"), *ncm], 1),
        )

    def ucs(self, query: Tensor, support: Tensor, mask: Tensor, static: bool) -> tuple[Tensor, Tensor]:
        bank = self.state["prototype"]
        present = [i for i in range(1, len(bank)) if bool((mask == i).any())]
        full = (len(query), len(bank), *query.shape[-2:])
        agm, ncm = torch.zeros(full, dtype=query.dtype), torch.zeros(full, dtype=query.dtype)
        agm_bg = ncm_bg = torch.zeros(len(query), 1, *query.shape[-2:], dtype=query.dtype)
        for place, i in enumerate(present):
            means = self.pool(support, mask, i)
            maps = []
            for b in range(len(query)):
                used = means[b]
                if float(means[b].detach().sum()) == 0:
                    used = torch.zeros_like(means[b])
                else:
                    blend = not static and float(bank[place].sum()) != 0 and float(bank[i].sum()) != 0
                    if blend:
                        used = 0.999 * bank[i].clone() + 0.001 * means[b]
                    if self.training:
                        bank[place] = used.detach()
                maps.append(self.cosine(query[b], used))
            m = torch.stack(maps)
            ncm[:, i] = self.conv(m[:, None], "after_sim_fg")[:, 0]
            ncm_bg = ncm_bg + self.conv(1 - m[:, None], "after_sim_bg")
            score = self.guided(query, m)
            agm[:, i] = score[:, 0]
            agm_bg = agm_bg + score[:, 1:]
        one = torch.ones_like(ncm_bg)
        agm[:, 0] = self.conv(agm_bg / len(present) if present else one, "bg_att_fusion")[:, 0]
        ncm[:, 0] = self.conv(ncm_bg / len(present) if present else one, "bg_sim_fusion")[:, 0]
        return agm, ncm
