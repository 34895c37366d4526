"""A tiny random SAM, and PerSAM's mask decoder written from its description."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

transformers = pytest.importorskip("transformers", reason="PerSAM needs transformers: pip install oshp-lite[sam]")

SIDE, PATCH, GRID = 128, 16, 8


def tiny_sam(seed: int = 0) -> nn.Module:
    """SAM's real decoder and prompt encoder behind a two-layer image encoder; random weights, nothing downloaded."""
    vision = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": PATCH,
        "mlp_ratio": 2.0,
        "window_size": 4,
        "global_attn_indexes": [1],
        "initializer_range": 0.02,  # the default, 1e-10, leaves no image in the embedding
    }
    prompt = {"image_size": SIDE, "patch_size": PATCH, "image_embedding_size": GRID}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = transformers.SamConfig(vision_config=vision, prompt_encoder_config=prompt)
        model = transformers.SamModel(config).eval()
        for name, value in model.named_parameters():  # trained weights are larger than initial ones
            if name.startswith("mask_decoder") and value.dim() > 1:
                nn.init.normal_(value, std=0.08)
    return model


class Decoder:
    """The mask decoder with PerSAM's changes on the weights of a SamModel, in float64 and plain operations."""

    def __init__(self, model: nn.Module) -> None:
        self.w = {name: value.detach().double() for name, value in model.mask_decoder.state_dict().items()}

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"], eps)

    def attention(self, name: str, q: Tensor, k: Tensor, v: Tensor, g: Tensor | None = None) -> Tensor:
        q, k, v = (self.linear(f"{name}.{n}_proj", x) for n, x in (("q", q), ("k", k), ("v", v)))
        heads = [x.unflatten(-1, (8, -1)).transpose(0, 1) for x in (q, k, v)]
        weights = (heads[0] @ heads[1].transpose(1, 2) / math.sqrt(heads[0].shape[-1])).softmax(-1)
        if g is not None:
            weights = (weights + g).softmax(-1)
        return self.linear(f"{name}.out_proj", (weights @ heads[2]).transpose(0, 1).flatten(1))

    def mlp(self, name: str, x: Tensor, layers: tuple[str, ...]) -> Tensor:
        for layer in layers[:-1]:
            x = F.relu(self.linear(f"{name}.{layer}", x))
        return self.linear(f"{name}.{layers[-1]}", x)

    def __call__(
        self, image: Tensor, place: Tensor, sparse: Tensor, g: Tensor | None, t: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """image, place [C,h,w], sparse [n,C], g [h*w], t [C] -> logits of all four masks [4,4h,4w], IoU [4]."""
        height, width = image.shape[-2:]
        tokens = torch.cat([self.w["iou_token.weight"], self.w["mask_tokens.weight"], sparse]).clone()
        queries, prompt = tokens, tokens  # one tensor under two names: the target is added to both at first
        keys, where = image.flatten(1).T, place.flatten(1).T
        for i in range(2):
            layer = f"transformer.layers.{i}"
            if t is not None:
                queries += t
            if i == 0:
                queries = self.attention(f"{layer}.self_attn", queries, queries, queries)
            else:
                q = queries + prompt
                queries = queries + self.attention(f"{layer}.self_attn", q, q, queries)
            queries = self.norm(f"{layer}.layer_norm1", queries, 1e-6)
            q, k = queries + prompt, keys + where
            queries = queries + self.attention(f"{layer}.cross_attn_token_to_image", q, k, keys, g)
            queries = self.norm(f"{layer}.layer_norm2", queries, 1e-6)
            queries = queries + self.mlp(f"{layer}.mlp", queries, ("lin1", "lin2"))
            queries = self.norm(f"{layer}.layer_norm3", queries, 1e-6)
            q, k = queries + prompt, keys + where
            keys = keys + self.attention(f"{layer}.cross_attn_image_to_token", k, q, queries)
            keys = self.norm(f"{layer}.layer_norm4", keys, 1e-6)
        q = queries + prompt + (0 if t is None else t)
        queries = queries + self.attention("transformer.final_attn_token_to_image", q, keys + where, keys)
        queries = self.norm("transformer.layer_norm_final_attn", queries, 1e-5)
        maps = keys.T.reshape(1, -1, height, width)
        maps = F.conv_transpose2d(maps, self.w["upscale_conv1.weight"], self.w["upscale_conv1.bias"], stride=2)
        maps = self.norm("upscale_layer_norm", maps.permute(0, 2, 3, 1), 1e-6).permute(0, 3, 1, 2)
        maps = F.conv_transpose2d(F.gelu(maps), self.w["upscale_conv2.weight"], self.w["upscale_conv2.bias"], stride=2)
        maps = F.gelu(maps)[0]
        layers = ("proj_in", "layers.0", "proj_out")
        filters = [self.mlp(f"output_hypernetworks_mlps.{i}", queries[1 + i], layers) for i in range(4)]
        logits = torch.einsum("mc,chw->mhw", torch.stack(filters), maps)
        return logits, self.mlp("iou_prediction_head", queries[0], layers)
