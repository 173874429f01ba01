"""Accounts become vectors: the server describes the pictures of their posts, and here they are pooled.

Pictures of all accounts go to ``describe_posts`` in one stream with many in flight, are pooled as answers
come, and are not kept: memory does not grow with the number of posts. Blocks are ``PICTURES`` and, where word
vectors are given, ``WORDS``; where it is wanted, each once more as the plain mean. A picture that cannot be
read costs that picture alone. An account of which the server fails a picture is left for the next run, which
goes on where this one stopped.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from adlens import contract, pictures
from adlens.accounts import ACCOUNT, POSTS, Account, AccountPost, Unused
from adlens.answers import Failure
from adlens.contract import ModelCard
from adlens.described import Checkpoint, DescribedAccount, DescribedFolder, DescribedPost
from adlens.errors import NotSent, WrongEmbedder
from adlens.galleries.journal import stamp
from adlens.history import Plan, Pool, Weighting, plan
from adlens.jobs import faces
from adlens.pictures import ImageLike
from adlens.responses import card, output
from adlens.runs import ask_each
from adlens.towers import PLAIN
from adlens.transport import Connection
from adlens.words import WordVectors

PICTURES: Final = "pictures"
"""Block of POST_FEATURES."""
WORDS: Final = "words"
"""Block of the captions' words."""
MENTIONS: Final = "set aside of brands"
"""What becomes of posts that mention somebody (``history.plan``), as the folder says it."""
HEAVIEST: Final = 6
"""Posts of an account that are named and kept, to tell what it is without each of them."""
CAPTION: Final = 200
"""Characters of their captions."""
WORKERS: Final = 8
"""Pictures in flight: enough to keep a few model instances at work."""
_OFTEN: Final = 64
"""Pictures between two checkpoints."""
Features = npt.NDArray[np.float32]


class PictureDescriber(Protocol):
    """What describes pictures, by one set of weights."""

    card: ModelCard
    timeout_s: float
    """Given to one picture."""

    def describe(self, image: ImageLike) -> Features:
        """POST_FEATURES of a picture, float32 [25088].

        Raises:
            AdlensError: of the picture, or of what describes it.
        """


class Describer:
    """Describes pictures by one set of weights, whatever the server does meanwhile."""

    def __init__(self, connection: Connection) -> None:
        """Ask the server for the card of ``describe_post``.

        Raises:
            ServerError: no answer.
            UnknownModel: the server does not serve it.
        """
        self._connection = connection
        self.timeout_s = connection.endpoint.timeout_s
        nothing: dict[str, npt.NDArray[Any]] = {
            contract.PIXELS: np.zeros((1, contract.CANVAS, contract.CANVAS, 3), np.uint8),
            contract.PICTURE_SIZE: np.full((1, 2), contract.CANVAS, np.int32),
        }
        answer = connection.infer(contract.DESCRIBE_POST, nothing, outputs=(contract.CARD,))
        self.card = card(answer, contract.CARD, ModelCard)

    def describe(self, image: ImageLike) -> Features:
        """POST_FEATURES of a picture, float32 [25088].

        Raises:
            BadImage: it cannot be read, or is over a limit (``TooLarge``).
            WrongEmbedder: the server runs other weights by now.
            AdlensError: as ``Connection.infer``.
        """
        answer = self._connection.infer(contract.DESCRIBE_POSTS, faces.request(pictures.load(image)))
        now = card(answer, contract.card_output(contract.DESCRIBE_POST), ModelCard).weights
        if now != self.card.weights:
            raise WrongEmbedder(
                f"the server's {contract.DESCRIBE_POST} was replaced meanwhile, weights {self.card.weights} "
                f"by {now}; describe the accounts anew, into another folder"
            )
        return output(answer, contract.POST_FEATURES, (contract.POST_FEATURES_LENGTH,))


def makers(describer: PictureDescriber, words: WordVectors | None) -> dict[str, str]:
    """What makes each block, by its name: weights, and word vectors."""
    return {PICTURES: describer.card.weights} | ({WORDS: words.digest} if words else {})


@dataclass
class Outcome:
    """What became of a run.

    Attributes:
        accounts: finished by it.
        before: that were finished before it.
        unfinished: that the next run has to take up.
        pictures: described by it.
        unused: what could not be used.
        failure: the server's first; None where it had none.
    """

    accounts: int = 0
    before: int = 0
    unfinished: int = 0
    pictures: int = 0
    unused: Unused = field(default_factory=Unused)
    failure: Failure | None = None


@dataclass
class _Gathering:
    """An account whose pictures are under way; those up to ``behind``, a line, a former run has seen to."""

    account: Account
    plan: Plan
    checkpoint: Checkpoint
    words: dict[str, Pool]
    behind: int
    heavy: frozenset[int]
    due: int = 0
    read: bool = False
    failed: bool = False
    heaviest: list[DescribedPost] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self.read and not self.due

    def result(self, made_by: Mapping[str, str]) -> DescribedAccount:
        """What has come of it, by what ``made_by`` names."""
        about, seen = self.account, self.checkpoint
        pools = {**seen.pools, **self.words}
        unknown = np.full(contract.POST_FEATURES_LENGTH, np.nan, np.float32)
        heaviest = tuple(
            replace(post, vectors={PICTURES: seen.kept.get(post.line, unknown), **post.vectors})
            for post in sorted(self.heaviest, key=lambda post: -post.weight)
        )
        return DescribedAccount(
            about.id, seen.stamp, about.name, about.followers, self.plan.engagement, about.category,
            about.language, about.brand, self.plan.posts, seen.described, heaviest,
            {name: pool.weight for name, pool in pools.items()},
            {name: pool.mean() for name, pool in pools.items()}, made_by, self.plan.set_aside,
        )  # fmt: skip


@dataclass(frozen=True)
class _Asked:
    """A picture to be described."""

    of: _Gathering
    post: AccountPost
    image: Path
    weight: float


def describe_accounts(
    accounts: Iterable[Account],
    describer: PictureDescriber,
    folder: Path,
    *,
    weighting: Weighting | None = None,
    words: WordVectors | None = None,
    plain: bool = False,
    workers: int = WORKERS,
    on_picture: Callable[[], object] | None = None,
) -> Outcome:
    """Describe ``accounts``, and write their blocks into ``folder``; what is there already is passed over.

    Args:
        accounts: taken as answers come.
        describer: of the pictures.
        folder: made where it is not there (``adlens.described``).
        weighting: what posts weigh; by default by engagement and recency.
        words: vectors of the words of captions; None leaves these out.
        plain: whether each block is wanted as the plain mean, too, as rankers are compared by.
        workers: pictures in flight.
        on_picture: called as each picture is through.

    Raises:
        GalleryBusy: another program is at work in the folder.
        InvalidConfiguration: it was made with other settings; or posts cannot be read.
    """
    weighting = weighting or Weighting()
    made_by = makers(describer, words)
    pooled = {"weighting": weighting.name + (", and plain" if plain else ""), "mentions": MENTIONS}
    blocks = DescribedFolder(folder)
    with blocks.locked({PICTURES: "", WORDS: ""} | made_by | pooled):
        run = _Run(blocks, weighting, words, made_by, plain=plain)
        try:
            answers = ask_each(
                lambda asked: describer.describe(asked.image),
                run.asked(accounts),
                lambda asked: str(asked.image),
                workers,
                describer.timeout_s,
            )
            for answer in answers:
                run.take(answer)
                if on_picture:
                    on_picture()
        finally:
            blocks.settle()
    return run.outcome


class _Run:
    """Accounts on their way, in their order; pictures are asked for ahead of the answers."""

    def __init__(
        self,
        blocks: DescribedFolder,
        weighting: Weighting,
        words: WordVectors | None,
        made_by: Mapping[str, str],
        *,
        plain: bool,
    ) -> None:
        self.outcome = Outcome()
        self._blocks, self._weighting, self._words, self._plain = blocks, weighting, words, plain
        self._made_by = made_by
        self._known = blocks.stamps()
        self._checkpoint = blocks.checkpoint()
        self._open: deque[_Gathering] = deque()
        self._pending: deque[_Asked] = deque()
        self._gone = False

    def asked(self, accounts: Iterable[Account]) -> Iterator[_Asked]:
        """The pictures to be described; none any more once the server is gone."""
        for account in accounts:
            now = _stamp(account)
            if self._known.get(account.id) == now:
                self.outcome.before += 1
                continue
            if self._gone:
                self.outcome.unfinished += 1
                continue
            gathering = self._begin(account, now)
            self._open.append(gathering)
            for asked in self._pictures(gathering):
                gathering.due += 1
                self._pending.append(asked)
                yield asked
            gathering.read = True
            self._finish()

    def take(self, answer: Features | Failure) -> None:
        """The answer to the picture that is due."""
        asked = self._pending.popleft()
        gathering, checkpoint = asked.of, asked.of.checkpoint
        gathering.due -= 1
        checkpoint.seen += 1
        checkpoint.line = asked.post.line
        if not isinstance(answer, Failure):
            _add(checkpoint.pools, answer, asked.weight)
            checkpoint.described += 1
            if asked.post.line in gathering.heavy:
                checkpoint.kept[asked.post.line] = answer
            self.outcome.pictures += 1
        elif answer.server:
            self.outcome.failure = self.outcome.failure or answer
            self._gone = self._gone or answer.ends_run or answer.kind == NotSent.__name__
            gathering.failed = True
        else:
            place = f"{gathering.account.id}/{POSTS} line {asked.post.line}: {answer.message}"
            self.outcome.unused.add("a picture that cannot be described", place)
        if not gathering.failed and gathering is self._open[0] and checkpoint.seen % _OFTEN == 0:
            self._blocks.save(checkpoint)
        self._finish()

    def _begin(self, account: Account, now: str) -> _Gathering:
        planned = plan(account, self._weighting, self.outcome.unused)
        noted = self._checkpoint
        if noted is None or (noted.id, noted.stamp, noted.plan) != (account.id, now, planned.digest):
            pools = self._pools(PICTURES, contract.POST_FEATURES_LENGTH)
            noted = Checkpoint(account.id, now, planned.digest, 0, 0, 0, pools)
        words = self._pools(WORDS, self._words.dimension) if self._words else {}
        heavy = frozenset(planned.heaviest(HEAVIEST))
        return _Gathering(account, planned, noted, words, noted.line, heavy)

    def _pools(self, block: str, dimension: int) -> dict[str, Pool]:
        names = (block, block + PLAIN) if self._plain else (block,)
        return {name: Pool(dimension) for name in names}

    def _pictures(self, gathering: _Gathering) -> Iterator[_Asked]:
        """The posts whose picture is to be described; captions are pooled meanwhile."""
        account = gathering.account
        # A second time, as what a post weighs depends on all. Meanwhile the file may grow, and pictures go.
        for post in account.posts(Unused()):
            weight = gathering.plan.weights.get(post.line)
            if weight is None:
                continue
            vector = self._words.mean(post.caption) if self._words else None
            if vector is not None:
                _add(gathering.words, vector, weight)
            if post.line in gathering.heavy:
                gathering.heaviest.append(self._described(account, post, weight, vector))
            if post.image and post.line > gathering.behind:
                yield _Asked(gathering, post, post.image, weight)

    def _described(
        self, account: Account, post: AccountPost, weight: float, vector: Features | None
    ) -> DescribedPost:
        image = os.path.relpath(post.image, account.folder) if post.image else ""
        vectors: dict[str, Features] = {}
        if self._words:
            unknown = np.full(self._words.dimension, np.nan, np.float32)
            vectors[WORDS] = unknown if vector is None else vector
        return DescribedPost(post.line, image, post.caption[:CAPTION], weight, vectors)

    def _finish(self) -> None:
        """Write the accounts that are done, up to the first that is not."""
        while self._open and self._open[0].done:
            gathering = self._open.popleft()
            if gathering.failed:
                self.outcome.unfinished += 1
                continue
            self._blocks.append(gathering.result(self._made_by))
            self.outcome.accounts += 1


def _stamp(account: Account) -> str:
    """Changes when its files do, wherever its folder is; pictures that are exchanged are not noticed."""
    paths = (account.folder / POSTS, account.folder / ACCOUNT)
    return " ".join(stamp(path).removeprefix(f"{path}:") for path in paths)


def _add(pools: Mapping[str, Pool], vector: Features, weight: float) -> None:
    for name, pool in pools.items():
        pool.add(vector, 1.0 if name.endswith(PLAIN) else weight)
