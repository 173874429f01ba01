"""Job 5: which micro-influencers fit a brand, out of all that the server holds.

Builds the request for ``rank_influencers`` and reads its response. The brand's tower says by its schema what
it reads of an account, so a caller that has none yet asks with ``probe`` first. Where a ranker has been
replaced meanwhile, its answer carries another schema, and it is asked again (``ask``).

Whose followers, or engagement, are not known is within no range of them. Where that leaves fewer influencers
than were wanted, all ranges are opened and it is asked once more, so that the answer can say so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from adlens import contract, filters, responses
from adlens.contract import GalleryCard, ModelCard
from adlens.described import DescribedAccount
from adlens.errors import BadFilter, BadRequest, ServerFault, WrongEmbedder
from adlens.filters import Filter
from adlens.influencers import InfluencerAnswer, RankedInfluencer
from adlens.jobs.conversation import Conversation
from adlens.responses import Array, output
from adlens.towers import PLAIN, AccountSchema, Blocks
from adlens.transport import InferResponse

Range: TypeAlias = tuple[float | None, float | None]
"""Lowest and highest, both included; None where open."""
MICRO: Final[Range] = (5_000, 100_000)
"""Followers of a micro-influencer (Gan et al., ACM Multimedia 2019)."""
OPEN: Final[Range] = (None, None)
DEFAULT_COUNT: Final = 10
NAMELESS: Final = "brand"
_OPENED: Final = dict(
    zip(
        contract.ACCOUNT_NUMBERS,
        ("`--followers :`, followers=(None, None)", "no `--min-engagement`, engagement=(None, None)"),
        strict=True,
    )
)
"""How a range is opened, from the command line and in Python."""


@dataclass(frozen=True)
class Wanted:
    """Which influencers may be found.

    Attributes:
        filter: by attributes.
        followers: and by followers.
        engagement: and by likes and comments of a post over followers.
        count: how many at most, 1 to RANKED.

    Raises:
        BadFilter: a range is none.
        BadRequest: ``count`` is not within these.
    """

    filter: Filter | None = None
    followers: Range = MICRO
    engagement: Range = OPEN
    count: int = DEFAULT_COUNT

    def __post_init__(self) -> None:
        if not 0 < self.count <= contract.RANKED:
            raise BadRequest(f"count {self.count}; the server ranks 1 to {contract.RANKED} influencers")
        for name, (low, high) in self.ranges.items():
            if not (0 if low is None else low) <= (math.inf if high is None else high):  # NaN is not
                raise BadFilter(f"{name} {_said((low, high))}; give a lowest and a highest, or None")

    @property
    def ranges(self) -> dict[str, Range]:
        """Each of ACCOUNT_NUMBERS."""
        return dict(zip(contract.ACCOUNT_NUMBERS, (self.followers, self.engagement), strict=True))

    @property
    def bounded(self) -> tuple[str, ...]:
        """Those of ACCOUNT_NUMBERS that are asked to be within a range."""
        return tuple(name for name, bounds in self.ranges.items() if bounds != OPEN)

    def encode(self) -> npt.NDArray[np.float32]:
        """RANGES of one brand, float32 [1, len(ACCOUNT_NUMBERS), 2]."""
        return np.array(
            [
                [
                    [-math.inf if low is None else low, math.inf if high is None else high]
                    for low, high in self.ranges.values()
                ]
            ],
            np.float32,
        )


def probe() -> dict[str, npt.NDArray[Any]]:
    """A request for a tower that asks for its schema alone."""
    return {contract.ACCOUNT: np.zeros((1, contract.MAX_ACCOUNT), np.float32)}


def request(row: npt.NDArray[np.float32], wanted: Wanted) -> dict[str, npt.NDArray[Any]]:
    """A request for ``rank_influencers``, batch 1, of ACCOUNT ``row``.

    Raises:
        BadFilter: the filter does not fit into FILTER.
    """
    return {
        contract.ACCOUNT: row[np.newaxis],
        contract.FILTER: filters.encode(wanted.filter),
        contract.RANGES: wanted.encode(),
    }


def read_schema(response: InferResponse) -> AccountSchema:
    """The schema of the tower that answered.

    Raises:
        ServerFault: the response breaks ``adlens.contract``.
    """
    data = output(response, contract.SCHEMA, (contract.SCHEMA_BYTES,)).tobytes()
    try:
        return _schema(data)
    except ValueError as error:
        raise ServerFault(f"{response.model_name}: {error}") from error


def ask(
    brand: Blocks | DescribedAccount, name: str | None, wanted: Wanted, schema: AccountSchema | None
) -> Conversation[tuple[InfluencerAnswer, AccountSchema]]:
    """The whole conversation: yields requests, is sent their responses, and returns answer and schema.

    Args:
        brand: the brand's account, or its blocks.
        name: of the brand; None for the account's id.
        wanted: which influencers may be found.
        schema: of the brand's tower that answered last; None where none has. Where it has been replaced
            since, it is asked for its schema anew.

    Raises:
        BadAccount: the brand's blocks are not those of the ranker.
        BadFilter: the filter does not fit into FILTER, or the gallery has not its attributes.
        WrongEmbedder: the gallery was made by another ranker than the brand's tower, or the brand's blocks by
            something else than what the ranker has learned from.
        ServerFault: a response breaks ``adlens.contract``.
    """
    blocks, made_by, id_ = (
        (brand.vectors, brand.made_by, brand.id) if isinstance(brand, DescribedAccount) else (brand, {}, None)
    )
    name = name or id_ or NAMELESS
    known = schema or read_schema((yield contract.BRAND_TOWER, probe()))
    while True:
        known.check_made_by(blocks, made_by, name)
        row = known.encode(blocks, name)
        response = yield contract.RANK_INFLUENCERS, request(row, wanted)
        said = read_schema(response)
        if said == known:
            ignored = [block for block in blocks if block.removesuffix(PLAIN) not in known.names]
            answer = interpret(response, known, name, known.known(row), wanted, ignored)
            if answer.passing < wanted.count and wanted.bounded:
                opened = replace(wanted, followers=OPEN, engagement=OPEN)
                more = yield contract.RANK_INFLUENCERS, request(row, opened)
                said_so = tuple(_left_out(answer, _read(more, known), wanted))
                answer = replace(answer, warnings=answer.warnings + said_so)
            return answer, known
        known = said


def interpret(
    response: InferResponse,
    schema: AccountSchema,
    brand: str,
    known: tuple[str, ...],
    wanted: Wanted,
    ignored: list[str],
) -> InfluencerAnswer:
    """Read the response for one brand.

    Args:
        response: of ``rank_influencers``, batch 1.
        schema: by which the request was made.
        brand: its name.
        known: blocks of the brand that were known.
        wanted: as it was asked.
        ignored: blocks of the brand that the ranker does not read.

    Raises:
        BadFilter: the gallery has not the attributes of the filter.
        WrongEmbedder: the gallery was made by another ranker than the brand's tower.
        ServerFault: the response breaks ``adlens.contract``.
    """
    tower = responses.card(response, contract.card_output(contract.BRAND_TOWER), ModelCard)
    gallery = responses.card(response, contract.card_output(contract.INFLUENCERS), GalleryCard)
    if gallery.photos and gallery.embedder_weights != schema.ranker:
        raise WrongEmbedder(
            f"{gallery.model} holds vectors of the ranker {gallery.embedder_weights}, but {tower.model} is "
            f"of {schema.ranker}; build the influencers anew (`adlens influencers build`)"
        )
    if gallery.photos:  # an empty one says nothing of its attributes
        filters.check(wanted.filter, gallery.attributes)
    found = tuple(_read(response, schema))
    passing = int(output(response, contract.INFLUENCER_COUNT, (1,))[0])
    if len(found) != min(passing, contract.RANKED):
        raise ServerFault(f"{response.model_name}: {len(found)} influencers of {passing} that pass")
    return InfluencerAnswer(
        brand=brand,
        influencers=found[: wanted.count],
        passing=passing,
        known=known,
        warnings=tuple(_warnings(tower, gallery, schema, wanted, known, ignored, passing)),
        model_versions={card.model: card.weights for card in (tower, gallery)},
        starter=(tower.model,) if tower.starter else (),
        vector=output(response, contract.ACCOUNT_VECTOR, (contract.ACCOUNT_DIMENSION,)),
    )


def _read(response: InferResponse, schema: AccountSchema) -> Iterator[RankedInfluencer]:
    """The influencers found."""
    scores = _raw(response, contract.INFLUENCER_SCORES)
    names = output(response, contract.INFLUENCER_IDS, contract.TENSORS[contract.INFLUENCER_IDS].shape)
    numbers = _raw(response, contract.INFLUENCER_NUMBERS)
    vectors = output(
        response, contract.INFLUENCER_VECTORS, contract.TENSORS[contract.INFLUENCER_VECTORS].shape
    )
    brand = output(response, contract.ACCOUNT_VECTOR, (contract.ACCOUNT_DIMENSION,))
    found = scores != contract.NO_SCORE
    count = int(found.sum())
    if not np.isfinite(scores[:count]).all() or (np.diff(scores[:count]) > 0).any():
        raise ServerFault(f"{response.model_name}: {contract.INFLUENCER_SCORES} is {scores.tolist()}")
    matched = responses.matches(scores[:count], names[:count], lowest=contract.NO_SCORE)
    for place, match in enumerate(matched):
        followers, engagement = (None if math.isnan(each) else each for each in numbers[place].tolist())
        yield RankedInfluencer(
            match.id,
            place + 1,
            match.score,
            schema.contributions(brand, vectors[place]),
            followers,
            engagement,
        )


def _raw(response: InferResponse, name: str) -> Array:
    """An output of which some numbers need not be finite.

    Raises:
        ServerFault: it is missing, or of another shape.
    """
    array = response.outputs.get(name)
    shape = (1, *contract.TENSORS[name].shape)
    if array is None or array.shape != shape:
        raise ServerFault(
            f"{response.model_name}: {name} is {None if array is None else list(array.shape)}, not "
            f"{list(shape)}; is the server of another version?"
        )
    row: Array = array[0]
    return row


def _warnings(
    tower: ModelCard,
    gallery: GalleryCard,
    schema: AccountSchema,
    wanted: Wanted,
    known: tuple[str, ...],
    ignored: list[str],
    passing: int,
) -> Iterator[str]:
    if tower.starter:
        yield (
            "the ranker is a starter, learned from generated accounts: of others, who it finds does not fit; "
            "train on past campaigns by `python -m export.train_influencers --features FILE.npz`, then `make "
            "models`"
        )
    elif tower.skill and not tower.skill[0]:
        yield "on brands it had not seen, the ranker was no better than chance; its scores mean little"
    if missing := [name for name in schema.names if name not in known]:
        yield f"not known of the brand: {', '.join(missing)}"
    if ignored:
        yield f"the ranker does not read {', '.join(ignored)}"
    if not gallery.photos:
        yield "there are no influencers; add some (`adlens influencers build`)"
    elif not passing:
        chosen = {**filters.alternatives(wanted.filter)}
        said = [f"{name}={' or '.join(values)}" for name, values in chosen.items()]
        said += [f"{name} {_said(each)}" for name, each in wanted.ranges.items() if each != OPEN]
        yield f"no influencer passes {', '.join(said) or 'the filter'}"


def _left_out(answer: InfluencerAnswer, best: Iterable[RankedInfluencer], wanted: Wanted) -> Iterator[str]:
    """Warnings where some of the ``best`` of all ranges are not in ``answer``, as too little is known."""
    passing = {each.id for each in answer.influencers}
    others = [each for each in best if each.id not in passing]
    for name in wanted.bounded:
        unknown = sum(getattr(each, name) is None for each in others)
        if unknown:
            least = "at least " if len(others) + len(passing) >= contract.RANKED else ""
            yield (
                f"{name} of {least}{unknown} influencers are not known, so that they pass no range of "
                f"{name}; to have them, open it ({_OPENED[name]})"
            )


def _said(bounds: Range) -> str:
    low, high = ("" if each is None else f"{each:,g}" for each in bounds)
    return f"{low} to {high}".strip()


@lru_cache(maxsize=16)
def _schema(data: bytes) -> AccountSchema:
    return AccountSchema.from_bytes(data)
