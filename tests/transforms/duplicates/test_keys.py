from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pairmill.transforms.duplicates.keys import text_keys


@settings(deadline=None)
@given(st.lists(st.none() | st.text(st.characters()), max_size=20))
def test_keys_are_equal_where_texts_are(texts):
    keys, known = text_keys(texts)
    assert (keys.shape, keys.dtype, known.dtype) == ((len(texts), 2), np.uint64, np.bool_)
    assert known.tolist() == [text is not None for text in texts]
    for i, text in enumerate(texts):
        for j, other in enumerate(texts):
            assert (keys[i] == keys[j]).all() == (text == other)


def test_a_key_is_the_digest_whatever_the_machine():
    keys, _ = text_keys(["http://example.com/ä.jpg", None])
    digest = hashlib.blake2b("http://example.com/ä.jpg".encode(), digest_size=16).hexdigest()
    assert [f"{word:016x}" for word in keys[0].tolist()] == [digest[:16], digest[16:]]
    assert keys[1].tolist() == [0, 0]
