"""The text tower of a CLIP over shortened rows of tokens: most captions fill a fifth of the context length."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

#: Rows are cut to multiples of so many tokens.
_STEP = 16


class TextTower:
    """``encode`` gives what ``model.encode_text`` gives, apart from the last bits.

    Where attention looks only back and the embedding is read at one token, what follows that token changes nothing:
    there rows may be cut after it. So it is with OpenAI's, LAION's, DataComp's and Apple's DFN models. SigLIP reads the
    last token and looks both ways: its rows stay whole.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._tower = _shortenable(model)

    def padded_lengths(self, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """To how many tokens each row may be cut."""
        longest = ids.shape[1]
        if self._tower is None:
            return np.full(len(ids), longest, np.int64)
        pool, eos = _pooling(self._tower)
        read = (ids.argmax(axis=1) if pool == "argmax" else (ids == eos).argmax(axis=1)) + 1
        lengths: npt.NDArray[np.int64] = np.minimum(-(-read // _STEP) * _STEP, longest)
        return lengths

    def encode(self, tokens: Any) -> Any:
        """Embeddings of rows of tokens, all cut to one length, as the tower gives them."""
        tower = self._tower
        if tower is None or tokens.shape[1] == tower.positional_embedding.shape[0]:
            return self._model.encode_text(tokens)
        import torch
        from open_clip.transformer import text_global_pool

        length = tokens.shape[1]
        dtype = tower.transformer.get_cast_dtype()
        x = tower.token_embedding(tokens).to(dtype) + tower.positional_embedding[:length].to(dtype)
        x = tower.transformer(x, attn_mask=tower.attn_mask[:length, :length])
        pool, eos = _pooling(tower)
        x = text_global_pool(tower.ln_final(x), tokens, pool, eos_token_id=eos)
        if tower.text_projection is None:
            return x
        linear = isinstance(tower.text_projection, torch.nn.Linear)
        return tower.text_projection(x) if linear else x @ tower.text_projection


def _shortenable(model: Any) -> Any:
    """The module that holds the text tower, if its rows may be cut; else None."""
    import open_clip
    from open_clip.transformer import TextTransformer

    if type(model) is open_clip.CLIP:
        tower = model
    elif type(model) is open_clip.CustomTextCLIP and type(model.text) is TextTransformer:
        tower = model.text
    else:
        return None
    looks_back = tower.attn_mask is not None and not getattr(tower, "use_pad_mask", False)
    plain = getattr(tower, "cls_emb", None) is None
    return tower if looks_back and plain and _pooling(tower)[0] in ("argmax", "eos") else None


def _pooling(tower: Any) -> tuple[str, int | None]:
    if hasattr(tower, "text_pool_type"):
        return tower.text_pool_type, tower.text_eos_id
    return tower.pool_type, tower.eos_id
