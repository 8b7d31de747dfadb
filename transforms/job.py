"""What every step function of one build needs to know: where things lie and what was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pairmill.filters.rule import Rule
from pairmill.sharding.embeddings import EmbeddingFormat
from pairmill.sharding.mirror import listed, open_place
from pairmill.sharding.step_store import StepStore
from pairmill.transforms.duplicate_settings import DuplicateSettings
from pairmill.transforms.fetch.settings import FetchSettings
from pairmill.transforms.greeting import Greeting
from pairmill.transforms.image.settings import ImageSettings
from pairmill.transforms.known.evaluation_run import EvaluationRun
from pairmill.transforms.known.evaluation_set import Decontamination
from pairmill.transforms.known.kept_index import EarlierBuild
from pairmill.transforms.lanes import LanePlan, load_lanes
from pairmill.transforms.language import LanguageSettings
from pairmill.transforms.mixture.settings import Mixture
from pairmill.transforms.pool.plan import Segment
from pairmill.transforms.pool.segment_file import load_segments
from pairmill.transforms.pool.spec import PoolSpec
from pairmill.transforms.score.scorer import Scorer
from pairmill.transforms.score.settings import InferenceSettings
from pairmill.transforms.score_run import ScorerRun
from pairmill.transforms.selection.settings import Selection
from pairmill.transforms.shard_order import ShardSettings
from pairmill.transforms.word_score_run import WordScoreRun
from pairmill.transforms.words.choice import TextChoice
from pairmill.transforms.words.recycle import RecycleSettings
from pairmill.transforms.words.step import CAPTION
from pairmill.transforms.words_run import WordsRun


@dataclass(frozen=True, eq=False)  # equal by identity, so that caches can be keyed by it
class Job:
    """One build. ``run`` names this attempt at it; ``lanes`` is how many lanes to cut the pool into, one a worker.
    ``build`` is a path or a URL (see ``sharding.mirror``).

    ``scorers`` are those that run, in the recipe's order; ``embedders`` are the scorers, by name, whose image
    embeddings heads read, which may be others. ``words`` are the steps that write texts, ``word_scores`` measure these
    texts, ``word_rules`` need the texts or their scores, ``text_language`` identifies their languages; from the
    selection number ``first_worded_selection`` on, selections are made after them. ``text_rules`` are those on the
    caption alone where the recipe recycles what they reject: they judge after ``rules``. ``fetchers`` is how many
    workers may fetch at once, who share the limit of each host. ``greeting`` is what workers of a cluster are met with.
    ``least_free_bytes``: with less left on a disk the run stops (None: what suits each disk).
    """

    build: str
    run: str
    lanes: int
    seed: int
    pool: PoolSpec
    pool_store: StepStore
    segment_store: StepStore
    language: LanguageSettings | None
    language_store: StepStore
    counts: tuple[str, ...]
    count_store: StepStore
    fetch: FetchSettings
    image: ImageSettings
    fetch_store: StepStore
    rules: tuple[Rule, ...]
    decontamination: Decontamination | None
    evaluation: tuple[EvaluationRun, ...]
    against: tuple[EarlierBuild, ...]
    all_reasons: bool
    duplicates: DuplicateSettings
    scorers: tuple[ScorerRun, ...]
    embedders: Mapping[str, Scorer]
    inference: InferenceSettings
    embeddings: EmbeddingFormat
    selections: tuple[Selection, ...]
    words: tuple[WordsRun, ...]
    word_scores: tuple[WordScoreRun, ...]
    word_rules: tuple[Rule, ...]
    text_rules: tuple[Rule, ...]
    recycle: RecycleSettings | None
    text_choice: TextChoice
    text_language: LanguageSettings | None
    first_worded_selection: int
    mixture: Mixture | None
    splits: tuple[tuple[str, float], ...]
    shards: ShardSettings
    fetchers: int = 1
    greeting: Greeting | None = None
    least_free_bytes: int | None = 0

    @property
    def text_scorers(self) -> tuple[ScorerRun, ...]:
        """The scorers that need no image, and run before the fetch."""
        return tuple(run for run in self.scorers if run.scorer.reads == "text")

    @property
    def image_scorers(self) -> tuple[ScorerRun, ...]:
        """The scorers that look at stored images."""
        return tuple(run for run in self.scorers if run.scorer.reads == "image")

    @property
    def pool_selections(self) -> list[int]:
        """The numbers of the selections over the whole pool."""
        return [number for number, selection in enumerate(self.selections) if selection.of == "pool"]

    @property
    def late_selections(self) -> list[int]:
        """The numbers of the selections among the rows that nothing else rejects."""
        return [number for number, selection in enumerate(self.selections) if selection.of == "alive"]

    @property
    def model_stores(self) -> list[StepStore]:
        """The stores of all that models measured or wrote."""
        stores = [run.store for run in self.scorers] + [run.store for run in self.words]
        return stores + [run.store for run in self.word_scores]

    def field_metadata(self) -> dict[str, dict[str, str]]:
        """What a table says of each column that a model measured or wrote."""
        told = [(run.columns(), run.field_metadata()) for run in self.scorers]
        told += [(run.columns(), run.field_metadata()) for run in self.words]
        told += [(run.columns(), run.field_metadata()) for run in self.word_scores]
        return {column: metadata for columns, metadata in told for column in columns}

    @property
    def text_names(self) -> list[str]:
        """The names of all texts of a pair, its own caption first."""
        return [CAPTION, *(text for run in self.words for text in run.step.texts)]

    @property
    def balances_pool(self) -> bool:
        """Whether concepts are balanced over the whole pool, before the fetch."""
        concepts = self.mixture.concepts if self.mixture is not None else None
        return concepts is not None and concepts.of == "pool"

    @property
    def parts(self) -> Path:
        """Files that live as long as the attempt: exchanged rows, verdicts, plans."""
        return open_place(self.build) / "parts" / self.run

    @property
    def shard_log(self) -> Path:
        """Which shards are finished, across the attempts at this build."""
        return open_place(self.build) / "parts" / "shards"

    @property
    def dataset(self) -> Path:
        """What a trainer will read."""
        return open_place(self.build) / "dataset"

    @property
    def ledger(self) -> Path:
        """The verdict of every pool row."""
        return open_place(self.build) / "ledger"

    @property
    def segments_path(self) -> Path:
        """Where the segments of the pool lie."""
        return self.parts / "segments.json"

    @property
    def segments(self) -> Sequence[Segment]:
        """The segments of the pool; exist once the work was submitted."""
        return load_segments(self.segments_path)

    @property
    def lanes_path(self) -> Path:
        """Where the lane plan of this attempt lies."""
        return self.parts / "lanes.npz"

    def lane_plan(self) -> LanePlan:
        """The lane plan of this attempt; exists once the pool was read."""
        return load_lanes(self.lanes_path)

    def exchanged(self, kind: str, number: int) -> Path:
        """The file of exchanged rows that lane or partition ``number`` writes."""
        return self.parts / kind / f"{number:06d}.arrow"

    def all_exchanged(self, kind: str) -> list[Path]:
        """Every file of exchanged rows of one kind, in order; ask after a barrier."""
        return listed(self.parts / kind, "*.arrow")
