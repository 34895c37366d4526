"""A slow, literal EOP-Net in float64: the oracle for the vectorised package. One loop per loop of the released code.

It works on a state dict with official names and shares no code with the package. BatchNorm is written out, so that
running statistics are compared as well.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BASE_IDS = (1, 2, 4, 9, 11, 12, 14, 16)


def recipe(shapes: dict[str, list[int]], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Weights from names alone: every tensor is drawn from a generator seeded by the CRC-32 of its name."""
    state: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        draw = np.random.RandomState(zlib.crc32(name.encode()))
        if name.endswith("num_batches_tracked"):
            state[name] = torch.zeros((), dtype=torch.int64)
            continue
        value: Any
        if name == "scaler":
            value = np.array(10.0)
        elif name == "prototype":
            value = draw.randn(*shape) * 0.5
            value[[row for row in range(shape[0]) if row not in BASE_IDS]] = 0
        elif name == "s1_prototype":
            value = draw.randn(*shape) * 0.5
        elif name.endswith("running_mean"):
            value = draw.randn(*shape) * 0.1
        elif name.endswith("running_var"):
            value = draw.uniform(0.5, 1.5, shape)
        elif len(shape) == 4:
            value = draw.randn(*shape) / np.sqrt(shape[1] * shape[2] * shape[3])
        elif len(shape) == 1 and name.endswith("weight"):
            value = draw.uniform(0.5, 1.5, shape)
        else:
            value = draw.randn(*shape) * 0.1
        state[name] = torch.tensor(value, dtype=torch.float32).to(dtype)
    return state


def resized_shapes(shapes: dict[str, list[int]], *, n_ids: int, width: int) -> dict[str, list[int]]:
    """Shapes of the same network with another number of ids and another metric width."""
    heads = ("decoder2.", "decoder3.", "agm_class.", "s1_")
    result = {}
    for name, shape in shapes.items():
        if name == "prototype":
            result[name] = [n_ids, width]
        elif name == "s2_trans.weight" or name == "s1_trans.weight":
            result[name] = [width, 256, 1, 1]
        elif name.startswith(heads) or name.startswith("s2_trans"):
            result[name] = [width if side == 256 else side for side in shape]
        else:
            result[name] = list(shape)
    return result


@dataclass
class Reference:
    """The network as a bag of functions over `state` (float64, official names)."""

    state: dict[str, Tensor]
    one_way: bool = False
    level: str = "mid"
    training: bool = False
    warmup: int = 25
    temperature: float = 0.1
    encoder: Callable[[Tensor], Tensor] | None = None  # stands in for the Xception encoder

    def conv(self, x: Tensor, name: str, **options: Any) -> Tensor:
        return F.conv2d(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"), **options)

    def norm(self, x: Tensor, name: str) -> Tensor:
        mean, var = self.state[f"{name}.running_mean"], self.state[f"{name}.running_var"]
        if self.training:
            n = x.numel() / x.shape[1]
            mean_now = x.mean((0, 2, 3))
            var_now = ((x - mean_now[:, None, None]) ** 2).mean((0, 2, 3))
            mean.copy_(0.9 * mean + 0.1 * mean_now.detach())
            var.copy_(0.9 * var + 0.1 * var_now.detach() * n / (n - 1))
            mean, var = mean_now, var_now
        x = (x - mean[:, None, None]) / torch.sqrt(var[:, None, None] + 1e-5)
        return x * self.state[f"{name}.weight"][:, None, None] + self.state[f"{name}.bias"][:, None, None]

    def unit(self, x: Tensor, name: str, *, stride: int = 1, dilation: int = 1, relu: bool = False) -> Tensor:
        x = self.conv(x, f"{name}.depthwise", stride=stride, padding=dilation, dilation=dilation, groups=x.shape[1])
        x = self.norm(x, f"{name}.depthwise_bn")
        x = x.relu() if relu else x
        x = self.norm(self.conv(x, f"{name}.pointwise"), f"{name}.pointwise_bn")
        return x.relu() if relu else x

    def up(self, x: Tensor, size: Any) -> Tensor:
        return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)

    def block(self, x: Tensor, number: int) -> tuple[Tensor, Tensor]:
        name = f"xception_features.block{number}"
        names = [f"{name}.rep.{place}" for place in ((0, 2, 4) if number == 1 else (1, 3, 5))]
        if number == 2:
            names[2] = f"{name}.block2_lastconv.1"
        stride = 2 if number < 4 else 1
        if number > 1:
            x = x.relu()
        tap = self.unit(self.unit(x, names[0]).relu(), names[1])
        y = self.unit(tap.relu(), names[2], stride=stride)
        if f"{name}.skip.weight" in self.state:
            x = self.norm(self.conv(x, f"{name}.skip", stride=stride), f"{name}.skipbn")
        return y + x, tap

    def encode(self, image: Tensor) -> Tensor:
        if self.encoder is not None:
            return self.encoder(image)
        f = "xception_features."
        x = self.norm(self.conv(image, f"{f}conv1", stride=2, padding=1), f"{f}bn1").relu()
        x = self.norm(self.conv(x, f"{f}conv2", padding=1), f"{f}bn2").relu()
        low = x
        for number in range(1, 21):
            x, tap = self.block(x, number)
            low = tap if number == 2 else low
        for name in ("conv3", "conv4", "conv5"):
            x = self.unit(x, f"{f}{name}", dilation=2, relu=True)
        low = self.norm(self.conv(low, "feature_projection_conv1"), "feature_projection_bn1").relu()
        if self.level == "mid":
            x = self.norm(self.conv(x, "midfea_adapt_conv"), "midfea_adapt_bn").relu()
            last = "midfea_conv.0.atrous_convolution"
        else:
            views = [self.norm(self.conv(x, "aspp1.atrous_convolution"), "aspp1.bn").relu()]
            for number, dilation in ((2, 6), (3, 12), (4, 18)):
                views.append(self.unit(x, f"aspp{number}.atrous_convolution", dilation=dilation, relu=True))
            pooled = x.mean((2, 3), keepdim=True)
            pooled = self.norm(self.conv(pooled, "global_avg_pool.1"), "global_avg_pool.2").relu()
            views.append(self.up(pooled, x.shape[-2:]))
            x = self.norm(self.conv(torch.cat(views, 1), "concat_projection_conv1"), "concat_projection_bn1").relu()
            last = "decoder1.0.atrous_convolution"
        return self.unit(torch.cat([self.up(x, low.shape[-2:]), low], 1), last, relu=True)

    def trunk(self, x: Tensor, plain: str, separable: str, head: str) -> Tensor:
        x = self.conv(self.conv(x, f"{plain}.0", padding=1), f"{plain}.1", padding=1)
        return self.conv(self.unit(x, f"{separable}.atrous_convolution", relu=True), head)

    @staticmethod
    def shrink(mask: Tensor, size: Any) -> Tensor:
        (h, w), (height, width) = size, mask.shape[-2:]
        rows = [i * height // h for i in range(h)]
        columns = [j * width // w for j in range(w)]
        return mask[:, rows][:, :, columns]

    @staticmethod
    def pool(features: Tensor, mask: Tensor, value: int) -> Tensor:
        result = []
        for b in range(len(features)):
            member = mask[b] == value
            total = (features[b] * member).sum((1, 2))
            result.append(total / max(1, int(member.sum())))
        return torch.stack(result)

    @staticmethod
    def cosine(features: Tensor, vector: Tensor) -> Tensor:
        dot = (features * vector[:, None, None]).sum(0)
        return dot / (features.norm(dim=0).clamp(min=1e-8) * vector.norm().clamp(min=1e-8))

    def used_prototype(self, bank: Tensor, row: int, mean: Tensor, static: bool) -> Tensor:
        if float(mean.detach().sum()) == 0:
            return torch.zeros_like(mean)
        if static or float(bank[row].sum()) == 0:
            used = mean
        else:
            used = 0.999 * bank[row].clone() + 0.001 * mean
        if self.training:
            bank[row] = used.detach()
        return used

    def __call__(self, batch: dict[str, Tensor], epoch: int, epochs: int) -> dict[str, Tensor]:
        query, support = self.encode(batch["query_image"]), self.encode(batch["support_image"])
        size, small = batch["query_image"].shape[-2:], support.shape[-2:]
        samples = range(len(query))
        # coarse space: the background pass comes first and its answer is dropped
        features, given = self.conv(query, "s1_trans"), self.conv(support, "s1_trans")
        fg = self.shrink(batch["support_foreground"], small)
        coarse = features
        for row in (0, 1):
            means = self.pool(given, fg, row).detach()
            used = [self.used_prototype(self.state["s1_prototype"], row, means[b], epoch >= 1) for b in samples]
            m = torch.stack([self.cosine(features[b], used[b]) for b in samples])[:, None]
            coarse = self.trunk(m * features + features, "s1_conv1", "s1_conv2", "s1_semantic")
        # fine space
        z, given = self.conv(query, "s2_trans"), self.conv(support, "s2_trans")
        mask = self.shrink(batch["support_mask"], small)
        static = epoch <= self.warmup
        head = self.one_way_head if self.one_way else self.k_way_head
        npm, agm = head(z, given, mask, batch, static)
        out = {
            "npm": self.up(self.state["scaler"] * npm, size),
            "agm": self.up(agm, size),
            "coarse": self.up(coarse, size),
        }
        target = batch["query_mask"].clone()
        for b in samples:
            for i in range(len(self.state["prototype"])):
                if i not in mask[b].unique().tolist():
                    target[b][batch["query_mask"][b] == i] = 0
        out["target"] = target
        out["loss_agm"] = F.cross_entropy(out["agm"], target, ignore_index=255)
        out["loss_npm"] = F.cross_entropy(out["npm"], target, ignore_index=255)
        out["loss_coarse"] = F.cross_entropy(out["coarse"], batch["query_foreground"], ignore_index=255)
        out["loss_contrast"] = self.contrast(z, given, mask, fg, batch)
        beta = (epochs - epoch) / epochs
        out["loss_total"] = (
            beta * out["loss_agm"] + (1 - beta) * out["loss_npm"] + out["loss_coarse"] + out["loss_contrast"]
        )
        return out

    def k_way_head(self, z: Tensor, given: Tensor, mask: Tensor, batch: Any, static: bool) -> tuple[Tensor, Tensor]:
        bank = self.state["prototype"]
        npm, npm_bg, agm, agm_bg = [], torch.zeros(()), [], torch.zeros(())
        for i in range(1, len(bank)):
            means = self.pool(given, mask, i)
            used = [self.used_prototype(bank, i, means[b], static) for b in range(len(z))]
            m = torch.stack([self.cosine(z[b], used[b]) for b in range(len(z))])[:, None]
            npm.append(self.conv(m, "npm_class_fg"))
            npm_bg = npm_bg + self.conv(1 - m, "npm_class_bg")
            score = self.trunk(m * z + z, "decoder2", "decoder3", "agm_class")
            agm.append(score[:, :1])
            agm_bg = agm_bg + score[:, 1:]
        share = len(bank) - 1
        return (
            torch.cat([self.conv(npm_bg / share, "npm_bg_fusion"), *npm], 1),
            torch.cat([self.conv(agm_bg / share, "agm_bg_fusion"), *agm], 1),
        )

    def one_way_head(self, z: Tensor, given: Tensor, mask: Tensor, batch: Any, static: bool) -> tuple[Tensor, Tensor]:
        means = self.pool(given, mask, 1)
        maps = []
        for b in range(len(z)):
            used = self.used_prototype(self.state["prototype"], int(batch["class_ids"][b]), means[b], static)
            maps.append(self.cosine(z[b], used))
        m = torch.stack(maps)[:, None]
        return self.conv(m, "npm_class"), self.trunk(m * z, "decoder2", "decoder3", "agm_class")

    def contrast(self, z: Tensor, given: Tensor, mask: Tensor, fg: Tensor, batch: dict[str, Tensor]) -> Tensor:
        if not self.training or self.one_way:
            return torch.zeros((), dtype=z.dtype)
        count = len(self.state["prototype"])
        label, scene = (
            self.shrink(batch["query_mask"], z.shape[-2:]),
            self.shrink(batch["query_foreground"], z.shape[-2:]),
        )
        q = [self.pool(z, scene, 0), *[self.pool(z, label, c) for c in range(1, count)]]
        s = [self.pool(given, fg, 0), *[self.pool(given, mask, c) for c in range(1, count)]]
        losses = []
        for b in range(len(z)):
            have_q = [c for c in range(count) if float(q[c][b].detach().sum()) != 0]
            have_s = [c for c in range(count) if float(s[c][b].detach().sum()) != 0]
            rows = []
            for i in have_q:
                if i not in have_s:
                    rows.append(torch.zeros((), dtype=z.dtype))
                    continue
                logits = torch.stack([F.cosine_similarity(q[i][b], s[j][b], dim=0) for j in have_s])
                rows.append(-F.log_softmax(logits / self.temperature, 0)[have_s.index(i)])
            losses.append(torch.stack(rows).mean() if rows else torch.zeros((), dtype=z.dtype))
        return torch.stack(losses).mean()
