"""Encoders of texts."""

import pytest
import torch

from generalist.network.encoders import ByteEncoder, WordEncoder


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
