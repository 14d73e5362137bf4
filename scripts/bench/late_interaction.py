"""Quality and size of late interaction on a collection: python scripts/bench/late_interaction.py scifact.

Token embeddings come from all-MiniLM-L6-v2, which was not trained for late interaction. Encoding takes minutes and is
kept in ``.cache/late-interaction``; ``--encode 500`` encodes that many documents more and stops. The collections are
those beside the project (``JRANK_DATA``).
"""

import os
import time
from pathlib import Path

import numpy as np
from _timing import ROOT

PART = 500
FIELDS = "title", "text"


def data_root():
    """Where the collections lie."""
    return Path(os.environ.get("JRANK_DATA", ROOT.parent / "shared" / "data"))


def read(name):
    """Ids and texts of the documents, ids and texts of the judged queries, and the judgements."""
    from jrank import data

    return data.read_beir(data_root() / "ir" / name)


def parts(name, kind, ids, texts, keep_special, limit=None):
    """Encode texts part by part into the cache; return the files, or None if ``limit`` stopped it."""
    from jrank.models import TextEncoder

    folder = ROOT / ".cache" / "late-interaction" / name
    folder.mkdir(parents=True, exist_ok=True)
    encoder, made, files = None, 0, []
    for low in range(0, len(ids), PART):
        path = folder / f"{kind}-{low:06d}.npz"
        files.append(path)
        if path.is_file():
            continue
        if limit is not None and made >= limit:
            return None
        encoder = encoder or TextEncoder.from_pretrained()
        some = texts[low : low + PART]
        start = time.perf_counter()
        pooled, tokens = encoder.encode(some, tokens=True, special_tokens=keep_special)
        rows = encoder.tokenizer.encode_texts(some, max_length=256)
        edge = 0 if keep_special else 1
        words = [encoder.tokenizer.tokens(row[edge : len(row) - edge]) for row in rows.ids]
        skip = np.concatenate([[not any(c.isalnum() for c in w) for w in line] or [False][:0] for line in words])
        np.savez(
            path.with_suffix(".part.npz"),
            tokens=np.concatenate(tokens).astype(np.float16),
            lengths=np.array([len(t) for t in tokens]),
            skip=skip.astype(bool),
            pooled=pooled,
        )
        os.replace(path.with_suffix(".part.npz"), path)
        made += len(some)
        print(f"{path.name}: {len(some)} texts in {time.perf_counter() - start:.0f} s", flush=True)
    return files
