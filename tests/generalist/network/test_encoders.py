"""Encoders of texts."""

import pytest
import torch
from torch import nn

from generalist.network.encoders import ByteEncoder, GridEncoder, ImageEncoder, WordEncoder


@pytest.mark.parametrize("make", [lambda: ByteEncoder(300, 16), lambda: WordEncoder(16)], ids=["bytes", "words"])
def test_a_texts_encoding_does_not_depend_on_the_lengths_of_others(make):
    torch.manual_seed(0)
    encoder = make()
    lengths = [0, 1, 15, 16, 17, 33, 64, 65, 129, 257, 300, 3]
    texts = torch.zeros(len(lengths), 300, dtype=torch.uint8)
    for row, length in zip(texts, lengths, strict=True):
        row[:length] = torch.randint(32, 127, (length,))
    encoder.train()
    together = encoder(texts)
    alone = torch.cat([encoder(texts[row : row + 1]) for row in range(len(texts))])
    assert torch.allclose(together, alone, atol=1e-6) and together.shape == (len(lengths), 16)
    assert len({tuple(row) for row in together.tolist()}) == len(lengths), "rows are in their order"
    with torch.no_grad():
        assert torch.allclose(encoder.eval()(texts), together, atol=1e-6)


def grids(count=3, size=5):
    return torch.randint(0, 3, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def test_blocks_of_a_grid_begin_as_the_identity():
    plain, blocks = GridEncoder(5, 8, 0), GridEncoder(5, 8, 2)
    blocks.load_state_dict(plain.state_dict(), strict=False)
    instruction = torch.randn(3, 8)
    assert torch.allclose(blocks(grids(), instruction), plain(grids(), instruction), atol=1e-6)


@pytest.mark.parametrize(("blocks", "sees"), [(0, False), (1, True)])
def test_blocks_relate_neighbouring_cells(blocks, sees):
    """What a cell contributes depends on its neighbours, and not on cells far away."""
    torch.manual_seed(0)
    encoder = GridEncoder(5, 8, blocks)
    for block in encoder.blocks:
        torch.nn.init.normal_(block[-1].weight)
    encoder.join = torch.nn.Identity()
    before = grids(1)
    after = before.clone()
    after[0, 0, 0, 0] = 5
    changed = (encoder(after, torch.zeros(1, 8)) != encoder(before, torch.zeros(1, 8))).view(5, 5, -1).any(dim=-1)
    assert changed[0, 0] and changed[1, 1] == sees
    assert changed[3, 3] == changed[0, 4] == False  # noqa: E712 - elements of a tensor


def test_detail_sees_an_object_of_a_tile_wherever_it_is():
    torch.manual_seed(0)
    encoder = ImageEncoder(3, 84, 8, detail=True)
    assert encoder.anywhere is not None
    nn.init.zeros_(encoder.layers[-1].weight)  # leaves what is read of all places together
    empty = torch.zeros(1, 3, 84, 84, dtype=torch.uint8)
    first, second = empty.clone(), empty.clone()
    first[:, 0, 24:36, 24:36] = second[:, 0, 48:60, 30:42] = 255  # by multiples of the strides, 3 x 2
    encoded = encoder(torch.cat([empty, first, second]), torch.arange(3), torch.zeros(3, 8))
    assert not torch.allclose(encoded[0], encoded[1]) and torch.allclose(encoded[1], encoded[2], atol=1e-5)


@pytest.mark.parametrize("detail", [False, True])
@pytest.mark.parametrize("film", [False, True])
def test_a_text_modulates_an_images_features(film, detail):
    torch.manual_seed(0)
    encoder = ImageEncoder(4, 84, 8, film=film, detail=detail)
    images = torch.randint(0, 256, (2, 4, 84, 84), dtype=torch.uint8)
    rows, instructions = torch.tensor([0, 1, 1, 1]), torch.randn(4, 8)
    instructions[2] = instructions[1]
    together = encoder(images, rows, instructions)
    alone = torch.cat(
        [
            encoder(images[row : row + 1], torch.tensor([0]), text[None])
            for row, text in zip(rows, instructions, strict=True)
        ]
    )
    assert torch.allclose(together, alone, atol=1e-5) and not torch.allclose(together[0], together[1])
    assert torch.equal(together[1], together[2])
    assert torch.equal(together[1], together[3]) == (not film)
