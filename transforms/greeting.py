"""How the workers of a cluster are met before they work: who is there, with which versions, and what it can see.

The one who submits leaves a token in the build folder and in the work folder. A worker's first call reads both,
compares versions, and answers with a file of its own in either, so that a folder which it cannot write is named too.
"""

from __future__ import annotations

import json
import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pairmill.sharding.errors import PairmillError
from pairmill.sharding.mirror import entries, fresh, listed, open_place, remove_tree
from pairmill.sharding.publish import publish_bytes
from pairmill.transforms.versions import MODELS, source_digest, versions

_TOKEN = "token.json"
_met: set[str] = set()


@dataclass(frozen=True)
class Greeting:
    """What a worker is told: the run's name, the folders ``build`` and ``work`` and the pool's ``path``, which it must
    see (the pool as far as it is local), and the submitter's ``versions``.
    """

    run: str
    build: str
    work: str
    pool: str
    versions: Mapping[str, str]

    @property
    def folders(self) -> tuple[tuple[str, str, Path], ...]:
        """An option, the folder that it names, and the folder in it where tokens and answers of this run lie."""
        return (
            ("--out", self.build, open_place(self.build) / "parts" / self.run / "workers"),
            ("--work", self.work, open_place(self.work) / f"workers-{self.run}"),
        )

    def post(self) -> None:
        """Leave the tokens, and remove what a killed run left of its own."""
        work = open_place(self.work)
        for stale in entries(work):
            if stale.startswith("workers-"):
                remove_tree(work / stale)
        for _, _, folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)
            publish_bytes(folder / _TOKEN, json.dumps({"run": self.run}).encode())

    def answers(self) -> int:
        """How many workers have answered so far."""
        return len(listed(self.folders[0][2], "worker-*.json"))

    def withdraw(self) -> None:
        """Remove tokens and answers from the work folder; the build's go with its other parts."""
        remove_tree(self.folders[1][2])


def told_versions() -> dict[str, str]:
    """What must be alike on every machine of a run, by name; models' packages as far as they are installed."""
    installed = versions(models=True)
    told = {name: number for name, number in installed.items() if name not in MODELS or number != "not installed"}
    told["pairmill"] = f"{told['pairmill']} (source {source_digest()})"
    return {"Python": ".".join(platform.python_version_tuple()[:2]), **told}


def answer(greeting: Greeting) -> None:
    """What a worker process does once a run, at its first call. Raises PairmillError, one line, where it is no fit."""
    if greeting.run in _met:
        return
    me = f"the worker on {socket.gethostname()} (process {os.getpid()})"
    differing = differences(greeting.versions, told_versions())
    if differing:
        raise PairmillError(
            f"{me} runs other versions than the one who submits: {'; '.join(differing)}; install the same there"
        )
    for option, chosen, folder in greeting.folders:
        _answer_in(folder, f"{option} {chosen}", me)
    if greeting.pool and not Path(greeting.pool).exists():
        raise PairmillError(f"{me} does not see the pool {greeting.pool}: it must be at this path on every worker")
    _met.add(greeting.run)


def differences(submitter: Mapping[str, str], worker: Mapping[str, str]) -> list[str]:
    """What differs, as words for people. A package of models counts where both have it, whatever it is compiled for."""
    told = []
    for name, wanted in submitter.items():
        found = worker.get(name, "not installed")
        if name in MODELS and (found == "not installed" or found.partition("+")[0] == wanted.partition("+")[0]):
            continue
        if found != wanted:
            told.append(f"{name} {found}, submitter {wanted}")
    return told


def _answer_in(folder: Path, told: str, me: str) -> None:
    try:
        token = fresh(folder / _TOKEN).read_bytes()
    except OSError as error:
        raise PairmillError(
            f"{me} does not see in {told} what the one who submits wrote there ({error.strerror}): it must be a folder "
            "that all machines share, at one path"
        ) from error
    try:
        publish_bytes(folder / f"worker-{socket.gethostname()}-{os.getpid()}.json", token)
    except OSError as error:
        raise PairmillError(f"{me} cannot write to {told}: {error.strerror}") from error
