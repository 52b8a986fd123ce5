"""Vision transformers (Dosovitskiy et al., ICLR 2021) as a chain of layers whose values are maps.

A transformer's values are tokens: one for each patch of the picture, in rows, and before them some that stand for no
place (the class token; registers, Darcet et al., ICLR 2024). Here they lie in a map ``(batch, channels, rows + h, w)``:
the patches' tokens in its last ``h`` rows, the others in the ``rows`` above, which are filled up with zeros. The last
layer leaves the patches' tokens alone: a feature map ``(batch, channels, h, w)`` like any other, which global average
pooling makes logits of, so that the class activation map is exact and no attention map is needed.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from weakspot.errors import WeakspotError
from weakspot.models.cut import Backbone, no_cut, probe
from weakspot.types import Size

TRAINED_SHARE = 6
"""One block in so many is trained, and at least one: 2 of 12."""


def prefix_rows(prefix: int, width: int) -> int:
    """Number of rows above the map that `prefix` tokens fill at a `width` (cells) of the map."""
    return -(-prefix // width)


def without_prefix(values: Tensor, prefix: int) -> Tensor:
    """The patches' tokens alone.

    Args:
        values: ``(batch, channels, rows + h, w)``.
        prefix: number of tokens that stand for no place.

    Returns:
        ``(batch, channels, h, w)``.
    """
    return values[..., prefix_rows(prefix, values.shape[-1]) :, :] if prefix else values


def _folded(tokens: Tensor, prefix: int, width: int) -> Tensor:
    """From ``(batch, prefix + h · w, channels)`` to ``(batch, channels, rows + h, w)``."""
    batch, _, channels = tokens.shape
    if prefix:
        empty = tokens.new_zeros((batch, prefix_rows(prefix, width) * width - prefix, channels))
        tokens = torch.cat([tokens[:, :prefix], empty, tokens[:, prefix:]], dim=1)
    return tokens.transpose(1, 2).reshape(batch, channels, tokens.shape[1] // width, width)


def _unfolded(values: Tensor, prefix: int) -> Tensor:
    """The inverse of :func:`_folded`."""
    tokens = values.flatten(2).transpose(1, 2)
    if not prefix:
        return tokens
    first = prefix_rows(prefix, values.shape[-1]) * values.shape[-1]
    return torch.cat([tokens[:, :prefix], tokens[:, first:]], dim=1)


class TokenLayer(nn.Module):
    """A layer between whose input and output tokens lie in a map, those that stand for no place above it.

    Args:
        prefix: number of tokens that stand for no place.
    """

    def __init__(self, prefix: int) -> None:
        super().__init__()
        self.prefix = prefix


class Embedding(TokenLayer):
    """From pictures to tokens, with everything that timm's network does before its first block.

    Args:
        net: timm's network; its blocks and what follows them are taken out.
        prefix: number of tokens that stand for no place.

    Raises:
        WeakspotError: from ``forward``, for pictures whose sides are no multiples of a patch's.
    """

    def __init__(self, net: Any, prefix: int) -> None:  # noqa: ANN401 - timm's transformers have no common base
        super().__init__(prefix)
        self.patch = tuple(int(side) for side in net.patch_embed.patch_size)
        net.blocks, net.norm, net.head = nn.ModuleList(), nn.Identity(), nn.Identity()
        net.rope = None  # every block has its own
        for name in ("fc_norm", "attn_pool", "head_drop"):
            if hasattr(net, name):
                setattr(net, name, None)
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        """From ``(batch, 3, H, W)`` to ``(batch, channels, rows + h, w)``."""
        height, width = images.shape[-2:]
        if height % self.patch[0] or width % self.patch[1]:
            raise WeakspotError(
                f"images of {height}×{width} pixels are not made of whole patches of {self.patch[0]}×{self.patch[1]}; "
                f"set data.image_size to multiples of {self.patch[0]}"
            )
        embedded = self.net._pos_embed(self.net.patch_embed(images))
        tokens = embedded[0] if isinstance(embedded, tuple) else embedded  # with rotary embeddings, which blocks make
        return _folded(self.net.norm_pre(tokens), self.prefix, width // self.patch[1])

    def settle(self, size: Size) -> None:
        """Take pictures of one size only from now on, so that no position embedding is interpolated any more.

        Runtimes of exported models interpolate each in its own way.

        Args:
            size: ``(height, width)`` of the network's input, in pixels.
        """
        from timm.layers.pos_embed import resample_abs_pos_embed

        net, grid = self.net, [side // patch for side, patch in zip(size, self.patch, strict=True)]
        if net.pos_embed is not None:
            prefix = 0 if net.no_embed_class else self.prefix
            old = net.patch_embed.grid_size
            with torch.no_grad():
                fitted = resample_abs_pos_embed(net.pos_embed, grid, old_size=old, num_prefix_tokens=prefix)
            net.pos_embed = nn.Parameter(fitted.clone(), requires_grad=False)
        net.dynamic_img_size, net.patch_embed.flatten = False, True


class Block(TokenLayer):
    """One block of attention and perceptron.

    Args:
        block: timm's.
        rope: makes rotary position embeddings (Su et al., "RoFormer", 2021); None for a network without.
        prefix: number of tokens that stand for no place.
    """

    def __init__(self, block: nn.Module, rope: nn.Module | None, prefix: int) -> None:
        super().__init__(prefix)
        self.block = block
        self.rope = rope

    def forward(self, values: Tensor) -> Tensor:
        """From and to ``(batch, channels, rows + h, w)``."""
        height, width = values.shape[-2:]
        tokens = _unfolded(values, self.prefix)
        if self.rope is None:
            tokens = self.block(tokens)
        else:
            shape = [height - prefix_rows(self.prefix, width), width]
            tokens = self.block(tokens, rope=self.rope.get_embed(shape=shape))  # type: ignore[operator]
        return _folded(tokens, self.prefix, width)


class TokenMap(TokenLayer):
    """The end of a transformer: its last normalisation, and the patches' tokens as a map.

    Args:
        norm: timm's.
        prefix: number of tokens that stand for no place.
    """

    def __init__(self, norm: nn.Module, prefix: int) -> None:
        super().__init__(prefix)
        self.norm = norm

    def forward(self, values: Tensor) -> Tensor:
        """From ``(batch, channels, rows + h, w)`` to ``(batch, channels, h, w)``."""
        tokens = self.norm(_unfolded(values, self.prefix))
        return without_prefix(_folded(tokens, self.prefix, values.shape[-1]), self.prefix)


def is_transformer(network: nn.Module) -> bool:
    """Tell whether a network of timm works on tokens and has blocks that follow each other."""
    return all(hasattr(network, name) for name in ("patch_embed", "_pos_embed", "blocks", "norm", "norm_pre"))


@torch.no_grad()
def cut_transformer(network: nn.Module, name: str) -> Backbone:
    """Cut a vision transformer of timm: all blocks but the last ones (:data:`TRAINED_SHARE`) are frozen.

    Taps lie after the middle block and at the freeze point; both have the resolution of patches.

    Args:
        network: timm's, built for pictures of any size.
        name: for the message.

    Raises:
        WeakspotError: when its blocks do not simply follow each other.
    """
    net: Any = network
    rope = getattr(net, "rope", None)
    if not is_transformer(net) or len(net.blocks) < 2:
        raise no_cut(name, "it has no blocks that follow each other")
    if getattr(net, "rope_mixed", False) or (rope is not None and rope.state_dict()):
        raise no_cut(name, "its blocks share learnt embeddings")
    prefix, channels, count = int(net.num_prefix_tokens), int(net.num_features), len(net.blocks)
    picture = probe(4 * max(int(side) for side in net.patch_embed.patch_size))
    expected = net.forward_features(picture)
    blocks = [Block(block, deepcopy(rope), prefix) for block in net.blocks]
    end = TokenMap(net.norm, prefix)  # before the embedding takes the rest of the network
    embedding = Embedding(net, prefix)
    layers = nn.Sequential(embedding, *blocks, end).eval()
    _same(layers, picture, expected[:, prefix:], name)
    frozen = count - max(1, count // TRAINED_SHARE)
    return Backbone(
        stem=layers[: 1 + frozen],
        tail=nn.Sequential(*layers[1 + frozen :]).train(),  # numbered anew, as of every network with names
        channels=channels,
        smallest=max(32, *embedding.patch),
        taps={"middle": 1 + frozen // 2, "late": 1 + frozen},
        pyramid=("middle", "late"),
        layer_names=("embedding", *(f"blocks.{number}" for number in range(count)), "norm"),
        tileable=False,
        prefix=prefix,
    )


def _same(layers: nn.Sequential, picture: Tensor, expected: Tensor, name: str) -> None:
    """Raise unless the chain gives the patches' tokens ``(1, h · w, channels)`` that the uncut network gives."""
    try:
        found = layers(picture).flatten(2).transpose(1, 2)
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()) + 1e-6)
    except (RuntimeError, AssertionError) as error:
        raise no_cut(name, "its patches are not tokens in rows") from error


def chain_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of timm's uncut transformer to those of the chain that it is cut into.

    Args:
        state: under timm's names; what is used after the blocks is left out.
    """
    renamed: dict[str, Tensor] = {}
    for key, tensor in state.items():
        first, _, rest = key.partition(".")
        if first == "blocks":
            number, _, inner = rest.partition(".")
            renamed[f"blocks.{number}.block.{inner}"] = tensor
        elif first == "norm":
            renamed[f"norm.norm.{rest}"] = tensor
        elif first not in ("head", "fc_norm", "attn_pool"):
            renamed[f"embedding.net.{key}"] = tensor
    return renamed


def uncut_name(name: str) -> str:
    """The name of a layer in timm's uncut transformer, the inverse of :func:`chain_names`.

    A layer that only wraps another one has the other's name, and the other keeps its own.

    Args:
        name: of a layer in the chain, such as ``blocks.3.block.attn``; other names stay as they are.

    Example:
        >>> uncut_name("blocks.3.block.attn"), uncut_name("embedding.net.patch_embed.proj")
        ('blocks.3.attn', 'patch_embed.proj')
    """
    parts = name.split(".")
    if parts[:2] == ["embedding", "net"]:
        return ".".join(parts[2:])
    if parts[0] == "blocks" and parts[2:3] == ["block"] and len(parts) > 3:
        return ".".join(parts[:2] + parts[3:])
    return name
