"""What is done with pairs that show the same image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pairmill.transforms.duplicates.pictures import NearSettings
from pairmill.transforms.duplicates.survivor import SurvivorPolicy

#: ``reject`` keeps one row of a group; ``measure`` keeps all and notes the group, so that no split parts it; ``off``
#: does not look.
DuplicateAction = Literal["reject", "measure", "off"]


@dataclass(frozen=True)
class DuplicateSettings:
    """Which kinds of equality count, and who survives.

    ``url``: rows whose image comes from one URL or file. ``sha256``: rows whose fetched bytes are equal. ``near``:
    stored pictures that a perceptual hash proposes and the thumbnails confirm (``near_match``). The default survivor
    is the largest original.
    """

    url: DuplicateAction = "reject"
    sha256: DuplicateAction = "reject"
    near: DuplicateAction = "reject"
    survivor: SurvivorPolicy = "largest"
    near_match: NearSettings = field(default_factory=NearSettings)
