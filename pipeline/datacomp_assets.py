"""Make the two lists that DataComp's baselines need out of the files that DataComp and WordNet publish.

``python -m pairmill.pipeline.datacomp_assets words --wordnet WORDNET --synsets IDS --out FILE``
    the words that ``text_based`` asks for. WORDNET is WordNet 3.0, its folder or NLTK's ``corpora/wordnet.zip``; IDS is
    DataComp's ``imagenet21k_wordnet_ids.txt``. Some seconds.

``python -m pairmill.pipeline.datacomp_assets clusters --references FILE... --centroids FILE --out FILE``
    the clusters that ``image_based`` keeps. The references are DataComp's ViT-L/14 embeddings of ImageNet-1k (five
    files), the centroids those of the pool's scale. About an hour on two cores.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from pairmill.sharding.publish import publish_bytes
from pairmill.transforms.score.clusters import read_vectors, target_clusters
from pairmill.transforms.wordnet import read_synset_ids, read_wordnet


def main(argv: Sequence[str] | None = None) -> int:
    """Make one list; returns the exit code: 0 done, 2 used wrongly."""
    parser = argparse.ArgumentParser(prog="python -m pairmill.pipeline.datacomp_assets")
    commands = parser.add_subparsers(dest="what", required=True)
    words = commands.add_parser("words", help="the words of ImageNet-21k's synsets")
    words.add_argument("--wordnet", required=True, type=Path)
    words.add_argument("--synsets", required=True, type=Path)
    clusters = commands.add_parser("clusters", help="the clusters that reference images are in")
    clusters.add_argument("--references", required=True, type=Path, nargs="+")
    clusters.add_argument("--centroids", required=True, type=Path)
    for command in (words, clusters):
        command.add_argument("--out", required=True, type=Path)
    arguments = parser.parse_args(argv)
    try:
        if arguments.what == "words":
            lines: list[str] = read_wordnet(arguments.wordnet).words_of(read_synset_ids(arguments.synsets))
        else:
            lines = list(map(str, _clusters(arguments.references, arguments.centroids)))
        publish_bytes(arguments.out, "".join(f"{line}\n" for line in lines).encode())
    except (ValueError, OSError) as error:
        print(f"datacomp_assets: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.out}: {len(lines):,} {arguments.what}")
    return 0


def _clusters(references: Iterable[Path], centroids: Path) -> list[int]:
    """One file of references in memory at a time."""
    of_pool = read_vectors(centroids)
    found: set[int] = set()
    for path in references:
        vectors = read_vectors(path)
        if vectors.shape[1] != of_pool.shape[1]:
            raise ValueError(f"{path} has vectors of {vectors.shape[1]} numbers, {centroids} of {of_pool.shape[1]}")
        found.update(np.asarray(target_clusters(vectors, of_pool)).tolist())
    return sorted(found)


if __name__ == "__main__":
    sys.exit(main())
