"""Described accounts become influencers that the server holds, and past posts become reasons.

Both go through the influencers' tower: accounts as they are, and as they would be without one of their posts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

import numpy as np

from adlens import contract
from adlens.answers import Failure
from adlens.contract import ModelCard
from adlens.described import DescribedAccount
from adlens.errors import BadAccount, BadRecord, ServerFault, WrongEmbedder
from adlens.galleries.records import AccountRecord, Vectors
from adlens.influencers import InfluencerAnswer, InfluentialPost, RankedInfluencer
from adlens.jobs import influencers
from adlens.responses import card
from adlens.towers import Blocks, Vector
from adlens.transport import Connection

ATTRIBUTES: Final = ("category", "language")
"""Of an influencer, by which FILTER chooses."""
_SAME: Final = 1e-3
"""By how much a score may differ in 32 bits, in parts of the lengths of both vectors."""


class Recruiter:
    """Turns accounts into influencers by one ranker, whatever the server does meanwhile."""

    name = contract.INFLUENCER_TOWER
    dimension = contract.ACCOUNT_DIMENSION

    def __init__(self, connection: Connection) -> None:
        """Ask the server for the tower's schema and card.

        Raises:
            ServerError: no answer, or none of an influencers' tower.
            UnknownModel: the server does not serve it.
        """
        self._connection = connection
        answer = connection.infer(contract.INFLUENCER_TOWER, influencers.probe())
        self.schema = influencers.read_schema(answer)
        self.card = card(answer, contract.CARD, ModelCard)
        if self.card.weights != self.schema.ranker:
            raise ServerFault(
                f"{self.card.model}: its card is of weights {self.card.weights}, its schema of the ranker "
                f"{self.schema.ranker}; build the models anew: make models"
            )

    def vectors(self, rows: Sequence[Vector]) -> Vectors:
        """The tower's vectors of ACCOUNTs, float32 [len(rows), ACCOUNT_DIMENSION].

        Raises:
            WrongEmbedder: the server runs another ranker by now.
            AdlensError: as ``Connection.infer``.
        """
        found = [np.zeros((0, self.dimension), np.float32)]
        for start in range(0, len(rows), contract.MAX_BATCH):
            some = np.stack(rows[start : start + contract.MAX_BATCH])
            vectors, now = self._vectors(some)
            if now != self.card.weights:
                raise WrongEmbedder(
                    f"the server's {self.card.model} was replaced meanwhile, weights {self.card.weights} by "
                    f"{now}; build the influencers anew"
                )
            found.append(vectors)
        return np.concatenate(found)

    def _vectors(self, accounts: Vectors) -> tuple[Vectors, str]:
        """Of at most MAX_BATCH accounts, and the weights that gave them."""
        outputs = self._connection.infer(contract.INFLUENCER_TOWER, {contract.ACCOUNT: accounts}).outputs
        try:
            vectors: Vectors = outputs[contract.ACCOUNT_VECTOR]
            now = ModelCard.from_bytes(outputs[contract.CARD][0].tobytes()).weights
        except (KeyError, ValueError) as error:
            raise ServerFault(f"{self.card.model} breaks the contract: {error}") from error
        if vectors.shape != (len(accounts), self.dimension) or not np.isfinite(vectors).all():
            raise ServerFault(
                f"{self.card.model}: {contract.ACCOUNT_VECTOR} is {list(vectors.shape)} with "
                f"{int((~np.isfinite(vectors)).sum())} numbers that are not finite"
            )
        return vectors, now

    def recruit(self, accounts: Iterable[DescribedAccount]) -> Iterator[AccountRecord | Failure]:
        """Records of the accounts that are no brands, in order; one that does not fit fails alone.

        Raises:
            WrongEmbedder: the server runs another ranker by now, or the accounts were described by something
                else than those that it has learned from.
            AdlensError: as ``Connection.infer``.
        """
        candidates = (account for account in accounts if not account.brand)
        while some := list(islice(candidates, contract.MAX_BATCH)):
            encoded = [self._encoded(account) for account in some]
            fit = [row for row in encoded if not isinstance(row, Failure)]
            vectors = iter(self.vectors(fit))
            for account, row in zip(some, encoded, strict=True):
                yield row if isinstance(row, Failure) else _record(account, next(vectors))

    def _encoded(self, account: DescribedAccount) -> Vector | Failure:
        self.schema.check_made_by(account.vectors, account.made_by, account.id)
        try:
            return self.schema.encode(account.vectors, account.id)
        except BadAccount as error:
            return Failure.of(account.id, error)

    def with_posts(
        self, answer: InfluencerAnswer, accounts: Mapping[str, DescribedAccount], most: int
    ) -> InfluencerAnswer:
        """The answer, with the ``most`` posts of each influencer that add most to its score.

        A post adds the score less that of the account as it would be without the post. Told are those of the
        heaviest posts that add something at all.

        Args:
            answer: of a ranking.
            accounts: by id; an influencer that is none of them has no posts, nor has one that was described
                anew since, and so has another score.
            most: of each influencer.

        Raises:
            WrongEmbedder: the server runs another ranker than that which made the answer.
            AdlensError: as ``Connection.infer``.
        """
        if answer.model_versions.get(contract.BRAND_TOWER) != self.card.weights:
            raise WrongEmbedder("the server's ranker was replaced meanwhile; ask again")
        found = [
            replace(each, posts=self._posts(each, accounts[each.id], answer.vector)[:most])
            if each.id in accounts
            else each
            for each in answer.influencers
        ]
        return replace(answer, influencers=tuple(found))

    def _posts(
        self, ranked: RankedInfluencer, account: DescribedAccount, brand: Vector
    ) -> tuple[InfluentialPost, ...]:
        """Those that add something, the one that adds most first."""
        rows = [self._row(account.vectors, account), *self._without(account)]
        vectors = self.vectors(rows)
        scores = vectors.astype(np.float64) @ brand
        if abs(scores[0] - ranked.score) > _SAME * np.linalg.norm(vectors[0]) * np.linalg.norm(brand):
            return ()
        added = scores[0] - scores[1:]
        return tuple(
            InfluentialPost(post.line, post.image, post.caption, float(added[place]))
            for place in np.argsort(-added, kind="stable")
            for post in (account.heaviest[place],)
            if added[place] > 0
        )

    def _without(self, account: DescribedAccount) -> Iterator[Vector]:
        return (self._row(account.without(post), account) for post in account.heaviest)

    def _row(self, blocks: Blocks, account: DescribedAccount) -> Vector:
        try:
            return self.schema.encode(blocks, account.id)
        except BadAccount:  # its only post: without it, nothing is known
            return self.schema.unknown


def _record(account: DescribedAccount, vector: Vector) -> AccountRecord | Failure:
    numbers = np.array([account.followers, account.engagement], np.float32)
    attributes = {"category": account.category, "language": account.language}
    try:
        return AccountRecord(account.id, vector, attributes, account.name, numbers)
    except BadRecord as error:
        return Failure.of(account.id, error)
