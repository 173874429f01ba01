"""Everything on the wire, in one place: tensor names, dtypes, shapes, units and limits.

The client, the exporters, the DALI pipelines, the server and the tests import this file; no other
file repeats a fact from it. (Triton's ``config.pbtxt`` files cannot import; a test holds them
against this one.)

The way of a request, with ``N`` pictures in a batch and ``K = MAX_FACES`` face slots a picture::

    IMAGE         uint8   [N, bytes]      JPEG files, ragged
      decode
    PIXELS        uint8   [N, S, S, 3]    RGB canvas, S = CANVAS; picture at the top left, rest black
    PICTURE_SIZE  int32   [N, 2]          height, width of the EXIF-oriented picture, in its pixels
      detect_faces
    BOXES         float32 [N, K, 4]       x1, y1, x2, y2 in canvas pixels, largest area first
    FACE_SCORES   float32 [N, K]          probability of a face, 0 to 1
    LANDMARKS     float32 [N, K, 5, 2]    x, y in canvas pixels, in the order of LANDMARK_NAMES
    FACE_COUNT    int32   [N, 1]          faces found; may exceed K, then the K largest fill the slots
      attributes_<backbone>
    PROBABILITIES float32 [N, K, L]       of each label of the model's card, L = MAX_LABELS; the columns
                                          behind the card's labels and the slots without a face are 0

For the most similar face in a gallery of campaign photos, instead of the attributes::

      embed_<embedder>
    FACE_EMBEDDING float32 [N, K, D]      of length 1 (0 in slots without a face), D as in EMBEDDERS
    FILTER        int64   [N, C, A]       which photos may be found: C = MAX_CLAUSES clauses of which each
                                          must hold, by any of A = MAX_ALTERNATIVES ``filter_code``; a
                                          clause of zeros holds for every photo
      gallery
    MATCH_SCORES  float32 [N, K, T]       cosine similarity, T = MATCHES, highest first; NO_MATCH where
                                          fewer photos pass the filter, or the slot has no face
    MATCH_IDS     uint8   [N, K, T, B]    the photos' ids, UTF-8, padded with zeros to B = ID_BYTES
    MATCH_COUNT   int32   [N, 1]          photos of the gallery that pass the filter

And for the offer to a customer::

    CUSTOMER      float32 [N, F]          F = MAX_FEATURES, columns as in the schema, categories by place
      uplift_offer
    UPLIFT        float32 [N, O]          O = MAX_OFFERS, in the order of the card's labels, rest 0: by how
                                          much the offer raises the probability to buy, -1 to 1
    SCHEMA        uint8   [N, SCHEMA_BYTES] UTF-8 JSON, padded with spaces: features, categories, loyalty

For the version of a picture that converts best::

    WANTED        uint8   [N, V]          V = MAX_VARIANTS, in the order of the card's labels: 1 for each
                                          variant that is to be judged, 0 for the others
      vary_creative (of PIXELS and PICTURE_SIZE, see above)
    VARIANT_LOGITS float32 [N, V, V]      of each variant, how much it looks like each kind; 0 where it is
                                          not wanted, and behind the card's labels
    CREATIVE_EMBEDDING float32 [N, E]     of the picture as it is, of length 1, E = CREATIVE_DIMENSION; 0
                                          where the original is not wanted
      alternates (with FILTER as above)
    ALTERNATE_SCORES float32 [N, T]       cosine similarity of other pictures, as MATCH_SCORES
    ALTERNATE_IDS  uint8  [N, T, B]       as MATCH_IDS
    ALTERNATE_LOGITS float32 [N, T, V]    what VARIANT_LOGITS said of each as it is; 0 where there is none
    ALTERNATE_COUNT int32 [N, 1]          pictures of the catalogue that pass the filter
    CONTEXT        int32  [N, C]          places in the vocabulary of SCHEMA, in the order of CONTEXT_NAMES
      conversion
    VARIANT_CONVERSION float32 [N, V, G]  probability of each of G = len(TARGETS), in that order; NaN where
                                          a place in CONTEXT is none of the vocabulary's
    ALTERNATE_CONVERSION float32 [N, T, G] the same of the alternates
      render_variants (of PIXELS, PICTURE_SIZE and WANTED)
    RENDERED       uint8  [N, V, S, S, 3] the variants to look at, RGB, each on a square canvas filled up with
                                          the picture's own background; 0 where it is not wanted
    RENDERED_BOXES int32  [N, V, 4]       x1, y1, x2, y2 of the picture on it

For how popular a post will be::

    POST           float32 [N, P]         what is known of it, P = len(POST_FIELDS), in that order; NaN, or
                                          anything that is not finite, where it is not known
      engagement (of PIXELS and PICTURE_SIZE, see above)
    ENGAGEMENT     float32 [N, C]         probability of each of C = len(ENGAGEMENT_CLASSES), in that order

For the micro-influencers that fit a brand::

      describe_post (of PIXELS and PICTURE_SIZE, see above)
    POST_FEATURES  float32 [N, 25088]     VGG16's last map of a post's picture, rows, columns, channels
    ACCOUNT        float32 [N, A]         what is known of an account, A = MAX_ACCOUNT: blocks side by side,
                                          as SCHEMA says; NaN where a block is not known, 0 behind the last
      brand_tower, influencer_tower
    ACCOUNT_VECTOR float32 [N, D]         D = ACCOUNT_DIMENSION; how well two accounts fit is the product of
                                          the brand's vector with the influencer's
      influencers (with FILTER as above)
    RANGES         float32 [N, R, 2]      lowest and highest of each of R = len(ACCOUNT_NUMBERS), both
                                          included; infinite where open
    INFLUENCER_SCORES float32 [N, T]      of T = RANKED influencers, highest first; NO_SCORE where fewer pass
    INFLUENCER_IDS uint8 [N, T, B]        as MATCH_IDS
    INFLUENCER_NUMBERS float32 [N, T, R]  of each, NaN where it is not known
    INFLUENCER_VECTORS float32 [N, T, D]  of each: by SCHEMA's segments, what a block adds to the score
    INFLUENCER_COUNT int32 [N, 1]         influencers that pass the filter and the ranges

Every learned leaf also answers with CARD, uint8 [N, CARD_BYTES]: UTF-8 JSON, padded with spaces, that
says which labels the columns stand for, which weights answered and how far they can be trusted (see
``ModelCard``). It is a tensor, not model metadata, so that an answer and its provenance cannot drift
apart when a model is replaced under load; and uint8, as BYTES outputs are unsafe on Triton 24.10.

Every size but the batch is fixed: a new label is a new head, and no configuration changes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple, Self

# Shapes.
CANVAS: Final = 640
"""Side of the square canvas, in pixels, on which every picture is laid (never enlarged)."""
MAX_FACES: Final = 16
"""Face slots a picture, ``K``."""
MAX_BATCH: Final = 8
"""Most pictures in a request, and the largest dynamic batch of every model but in the profiles for GPUs."""
MAX_LABELS: Final = 32
"""Columns of PROBABILITIES, ``L``."""
CARD_BYTES: Final = 2048
"""Length of a CARD."""
EMBEDDERS: Final = {"dlib": 128, "facenet": 512}
"""Embedders of our own and their dimension, ``D``."""
EMBEDDER: Final = "dlib"
"""The one that is always there, and that ``match_faces`` runs."""
MATCHES: Final = 10
"""Photos found for a face, ``T``."""
ID_BYTES: Final = 64
"""Longest id of a photo in a gallery, in bytes of UTF-8."""
NO_MATCH: Final = -2.0
"""In MATCH_SCORES, where there is no photo; below every cosine."""
MAX_CLAUSES: Final = 8
MAX_ALTERNATIVES: Final = 4
MAX_FEATURES: Final = 64
MAX_OFFERS: Final = 8
SCHEMA_BYTES: Final = 16 * 1024
MAX_VARIANTS: Final = 8
"""Variants of a picture, ``V``, and kinds that a network tells apart."""
CREATIVE_DIMENSION: Final = 512
"""Of CREATIVE_EMBEDDING, ``E``."""
CONTEXT_NAMES: Final = ("campaign_type", "industry", "type")
"""What a campaign is described by; ``type`` is the kind of product, such as the wearer of a shoe."""
TARGETS: Final = ("open_rate", "click_through", "abandoned_cart", "unsubscribed")
LOWER_IS_BETTER: Final = frozenset({"abandoned_cart", "unsubscribed"})
ORIGINAL: Final = "original"
"""Label of the variant that is the picture as it came."""
POST_FIELDS: Final = ("hour", "weekday", "caption_length", "hashtags", "followers", "advertised")
"""Of a post: hour of the day, 0 to 24, and weekday, 0 to 6 from Monday, both where its account lives;
characters of the caption, and hashtags in it; followers of the account; 1 if it is advertised, else 0."""
ENGAGEMENT_CLASSES: Final = ("low", "neutral", "high")
"""In their order; what counts as which, the card of the model says."""
POST_FEATURES_LENGTH: Final = 7 * 7 * 512
MAX_ACCOUNT: Final = 32_768
ACCOUNT_DIMENSION: Final = 512
ACCOUNT_NUMBERS: Final = ("followers", "engagement")
"""By which influencers are chosen, besides FILTER: followers, and likes and comments of a post over them."""
RANKED: Final = 50
NO_SCORE: Final = float("-inf")
"""In INFLUENCER_SCORES, where there is no influencer."""
LANDMARK_NAMES: Final = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
"""Landmarks in wire order; left and right as seen by the viewer."""

# Tensors.
IMAGE: Final = "IMAGE"
PIXELS: Final = "PIXELS"
PICTURE_SIZE: Final = "PICTURE_SIZE"
BOXES: Final = "BOXES"
FACE_SCORES: Final = "FACE_SCORES"
LANDMARKS: Final = "LANDMARKS"
FACE_COUNT: Final = "FACE_COUNT"
PROBABILITIES: Final = "PROBABILITIES"
FACE_EMBEDDING: Final = "FACE_EMBEDDING"
FILTER: Final = "FILTER"
MATCH_SCORES: Final = "MATCH_SCORES"
MATCH_IDS: Final = "MATCH_IDS"
MATCH_COUNT: Final = "MATCH_COUNT"
CUSTOMER: Final = "CUSTOMER"
UPLIFT: Final = "UPLIFT"
SCHEMA: Final = "SCHEMA"
WANTED: Final = "WANTED"
VARIANT_LOGITS: Final = "VARIANT_LOGITS"
CREATIVE_EMBEDDING: Final = "CREATIVE_EMBEDDING"
ALTERNATE_SCORES: Final = "ALTERNATE_SCORES"
ALTERNATE_IDS: Final = "ALTERNATE_IDS"
ALTERNATE_LOGITS: Final = "ALTERNATE_LOGITS"
ALTERNATE_COUNT: Final = "ALTERNATE_COUNT"
CONTEXT: Final = "CONTEXT"
VARIANT_CONVERSION: Final = "VARIANT_CONVERSION"
ALTERNATE_CONVERSION: Final = "ALTERNATE_CONVERSION"
RENDERED: Final = "RENDERED"
RENDERED_BOXES: Final = "RENDERED_BOXES"
POST: Final = "POST"
ENGAGEMENT: Final = "ENGAGEMENT"
POST_FEATURES: Final = "POST_FEATURES"
ACCOUNT: Final = "ACCOUNT"
ACCOUNT_VECTOR: Final = "ACCOUNT_VECTOR"
RANGES: Final = "RANGES"
INFLUENCER_SCORES: Final = "INFLUENCER_SCORES"
INFLUENCER_IDS: Final = "INFLUENCER_IDS"
INFLUENCER_NUMBERS: Final = "INFLUENCER_NUMBERS"
INFLUENCER_VECTORS: Final = "INFLUENCER_VECTORS"
INFLUENCER_COUNT: Final = "INFLUENCER_COUNT"
CARD: Final = "CARD"

# Models.
GATE: Final = "gate"
"""Model of NVIDIA's container alone, before ``decode``: refuses bad pictures one by one (``gpu/``)."""
DECODE: Final = "decode"
DETECT_FACES: Final = "detect_faces"
RECOMMEND_PRODUCTS: Final = "recommend_products"
RECOMMEND_PRODUCTS_FAST: Final = "recommend_products_fast"
UPLIFT_OFFER: Final = "uplift_offer"
VARY_CREATIVE: Final = "vary_creative"
ALTERNATES: Final = "alternates"
CONVERSION: Final = "conversion"
OPTIMISE_CREATIVE: Final = "optimise_creative"
RENDER_VARIANTS: Final = "render_variants"
RENDER_CREATIVE: Final = "render_creative"
ENGAGEMENT_MODEL: Final = "engagement"
PREDICT_ENGAGEMENT: Final = "predict_engagement"
DESCRIBE_POST: Final = "describe_post"
DESCRIBE_POSTS: Final = "describe_posts"
BRAND_TOWER: Final = "brand_tower"
INFLUENCER_TOWER: Final = "influencer_tower"
INFLUENCERS: Final = "influencers"
RANK_INFLUENCERS: Final = "rank_influencers"
BACKBONES: Final = ("dlib", "vgg16", "resnet50")
"""Backbones of job 1, in the order in which ``recommend_products`` runs them."""
FAST_BACKBONE: Final = "dlib"
"""The one that ``recommend_products_fast`` runs: its weights and heads are real in every checkout, and it
takes the least time."""

GALLERY_MANIFEST: Final = "gallery.json"
"""In every version folder of a gallery, and of no other model."""
GALLERY_TABLE: Final = "photos.csv"
"""There, too: of a version's files the one that no server reads."""
GALLERY_DAMAGED: Final = ".damaged-"
"""With the number of a version behind it, the name by which a server sets a damaged one aside."""

# Limits on a picture, checked by ``adlens.jpeg`` at the client and again before the decoder.
MAX_IMAGE_BYTES: Final = 20 * 1024 * 1024
MAX_PIXELS: Final = 50_000_000
MAX_SIDE: Final = 32_767
"""Longest side in pixels; no photo of at most MAX_PIXELS comes near it."""
MAX_SCANS: Final = 64
MAX_METADATA_BYTES: Final = 8 * 1024 * 1024
"""In all application and comment segments together; the largest in use, depth maps in XMP, take half."""

MAX_REQUEST_BYTES: Final = 64 * 1024 * 1024
"""One gRPC message: a full batch of photos of 8 MiB each, or three of MAX_IMAGE_BYTES."""

REASON_HEADER: Final = "adlens-reason"
"""Trailing metadata in which the server's door says why it, or Triton behind it, gives no answer."""


class Reason(StrEnum):
    """Values of REASON_HEADER."""

    OVERLOADED = "overloaded"
    """RESOURCE_EXHAUSTED, or UNAVAILABLE where Triton's own queue is full: send less, or later."""
    DRAINING = "draining"
    """UNAVAILABLE: this server is shutting down; another one may answer."""
    RESTARTING = "restarting"
    """UNAVAILABLE: a part of this server died, and is being started anew."""
    DENIED = "denied"
    """PERMISSION_DENIED: the call needs a token that did not come with it."""
    POISON = "poison"
    """INVALID_ARGUMENT: the same request was running at two deaths of the server."""


QUEUE_FULL_WORDS: Final = ("maximum queue size", "timeout expired")
"""In Triton's UNAVAILABLE, lower case, where a queue is full or a request waited in it for too long."""

POSITIVE: Final = 0.5
"""A face shows a label from this combined probability on (spec of job 1)."""
MIN_CROP: Final = 56
"""Shortest side, in canvas pixels, of a face crop that the attribute models can read."""
CROP_ABOVE: Final = 0.5
CROP_BELOW: Final = 0.2
CROP_WIDTH: Final = 1.6
"""Face crop in box heights: added above, added below, and total width centred on the box.

Generous on purpose, as hat and beard lie outside a face box. The IMG2RECOMMENDER project, whose boxes
come from another detector, takes 0.625, 0.25 and 1.75; behind MTCNN's taller boxes that loses
resolution to background. In cross-validation a crop 0.85 times as wide and high gave eyewear a larger area
under the ROC curve, hat and beard the same; ours lies between, with chin and crown inside. Ours is
not clamped to the picture: what lies outside is black.
"""


def attributes_model(backbone: str) -> str:
    """Name of the leaf model that runs ``backbone``."""
    return f"attributes_{backbone}"


def embed_model(embedder: str) -> str:
    """Name of the leaf model that runs ``embedder``."""
    return f"embed_{embedder}"


def gallery_model(embedder: str) -> str:
    """Name of the leaf model that searches the photos embedded by ``embedder``."""
    return "gallery" if embedder == EMBEDDER else f"gallery_{embedder}"


def match_faces_model(embedder: str) -> str:
    """Name of the ensemble that embeds by ``embedder`` and searches its gallery."""
    return "match_faces" if embedder == EMBEDDER else f"match_faces_{embedder}"


def filter_code(attribute: str, value: str) -> int:
    """What FILTER says for photos whose ``attribute`` is ``value``: never 0, signed, 64 bits."""
    digest = hashlib.sha256(f"{attribute}={value}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True) or 1


def probabilities_output(backbone: str) -> str:
    """Name under which an ensemble gives out the PROBABILITIES of ``backbone``."""
    return f"{PROBABILITIES}_{backbone.upper()}"


def card_output(model: str) -> str:
    """Name under which an ensemble gives out the CARD of the leaf ``model``."""
    return f"{CARD}_{model.upper()}"


def letterbox_scale(height: int, width: int) -> float:
    """Canvas pixels per picture pixel, at most 1, for a picture of ``height`` x ``width`` pixels."""
    return min(1.0, CANVAS / max(height, width))


class Tensor(NamedTuple):
    """What travels for one picture: Triton's name of the type, and sizes, -1 where open."""

    datatype: str
    shape: tuple[int, ...]


class Signature(NamedTuple):
    """Inputs and outputs of a model by name, in the order of its configuration."""

    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]


TENSORS: Final = {
    IMAGE: Tensor("UINT8", (-1,)),
    PIXELS: Tensor("UINT8", (CANVAS, CANVAS, 3)),
    PICTURE_SIZE: Tensor("INT32", (2,)),
    BOXES: Tensor("FP32", (MAX_FACES, 4)),
    FACE_SCORES: Tensor("FP32", (MAX_FACES,)),
    LANDMARKS: Tensor("FP32", (MAX_FACES, len(LANDMARK_NAMES), 2)),
    FACE_COUNT: Tensor("INT32", (1,)),
    PROBABILITIES: Tensor("FP32", (MAX_FACES, MAX_LABELS)),
    FILTER: Tensor("INT64", (MAX_CLAUSES, MAX_ALTERNATIVES)),
    MATCH_SCORES: Tensor("FP32", (MAX_FACES, MATCHES)),
    MATCH_IDS: Tensor("UINT8", (MAX_FACES, MATCHES, ID_BYTES)),
    MATCH_COUNT: Tensor("INT32", (1,)),
    CUSTOMER: Tensor("FP32", (MAX_FEATURES,)),
    UPLIFT: Tensor("FP32", (MAX_OFFERS,)),
    SCHEMA: Tensor("UINT8", (SCHEMA_BYTES,)),
    WANTED: Tensor("UINT8", (MAX_VARIANTS,)),
    VARIANT_LOGITS: Tensor("FP32", (MAX_VARIANTS, MAX_VARIANTS)),
    CREATIVE_EMBEDDING: Tensor("FP32", (CREATIVE_DIMENSION,)),
    ALTERNATE_SCORES: Tensor("FP32", (MATCHES,)),
    ALTERNATE_IDS: Tensor("UINT8", (MATCHES, ID_BYTES)),
    ALTERNATE_LOGITS: Tensor("FP32", (MATCHES, MAX_VARIANTS)),
    ALTERNATE_COUNT: Tensor("INT32", (1,)),
    CONTEXT: Tensor("INT32", (len(CONTEXT_NAMES),)),
    VARIANT_CONVERSION: Tensor("FP32", (MAX_VARIANTS, len(TARGETS))),
    ALTERNATE_CONVERSION: Tensor("FP32", (MATCHES, len(TARGETS))),
    RENDERED: Tensor("UINT8", (MAX_VARIANTS, CANVAS, CANVAS, 3)),
    RENDERED_BOXES: Tensor("INT32", (MAX_VARIANTS, 4)),
    POST: Tensor("FP32", (len(POST_FIELDS),)),
    ENGAGEMENT: Tensor("FP32", (len(ENGAGEMENT_CLASSES),)),
    POST_FEATURES: Tensor("FP32", (POST_FEATURES_LENGTH,)),
    ACCOUNT: Tensor("FP32", (MAX_ACCOUNT,)),
    ACCOUNT_VECTOR: Tensor("FP32", (ACCOUNT_DIMENSION,)),
    RANGES: Tensor("FP32", (len(ACCOUNT_NUMBERS), 2)),
    INFLUENCER_SCORES: Tensor("FP32", (RANKED,)),
    INFLUENCER_IDS: Tensor("UINT8", (RANKED, ID_BYTES)),
    INFLUENCER_NUMBERS: Tensor("FP32", (RANKED, len(ACCOUNT_NUMBERS))),
    INFLUENCER_VECTORS: Tensor("FP32", (RANKED, ACCOUNT_DIMENSION)),
    INFLUENCER_COUNT: Tensor("INT32", (1,)),
    CARD: Tensor("UINT8", (CARD_BYTES,)),
}
"""Every tensor of the leaves; ensembles give some out under names of their own."""


def _some(*names: str) -> dict[str, Tensor]:
    return {name: TENSORS[name] for name in names}


_FACES: Final = (BOXES, FACE_SCORES, LANDMARKS, FACE_COUNT)
_ATTRIBUTES: Final = tuple(map(attributes_model, BACKBONES))


def embedding_signature(dimension: int) -> Signature:
    """Of an embedder whose embeddings have ``dimension`` numbers."""
    embedding = Tensor("FP32", (MAX_FACES, dimension))
    return Signature(_some(PIXELS, LANDMARKS, FACE_COUNT), {FACE_EMBEDDING: embedding, **_some(CARD)})


def gallery_signature(dimension: int) -> Signature:
    """Of a gallery of such embeddings."""
    embedding = Tensor("FP32", (MAX_FACES, dimension))
    return Signature(
        {FACE_EMBEDDING: embedding, **_some(FACE_COUNT, FILTER)},
        _some(MATCH_SCORES, MATCH_IDS, MATCH_COUNT, CARD),
    )


def match_faces_signature(embedder: str, dimension: int) -> Signature:
    """Of the ensemble of both."""
    cards = (DETECT_FACES, embed_model(embedder), gallery_model(embedder))
    return Signature(
        _some(IMAGE, FILTER),
        _some(PICTURE_SIZE, *_FACES)
        | {FACE_EMBEDDING: Tensor("FP32", (MAX_FACES, dimension))}
        | _some(MATCH_SCORES, MATCH_IDS, MATCH_COUNT)
        | {card_output(model): TENSORS[CARD] for model in cards},
    )


def _products_signature(*backbones: str) -> Signature:
    """Of an ensemble that judges faces by ``backbones``."""
    cards = (DETECT_FACES, *map(attributes_model, backbones))
    return Signature(
        _some(IMAGE),
        _some(PICTURE_SIZE, *_FACES)
        | {probabilities_output(backbone): TENSORS[PROBABILITIES] for backbone in backbones}
        | {card_output(model): TENSORS[CARD] for model in cards},
    )


_RANKING: Final = (
    INFLUENCER_SCORES, INFLUENCER_IDS, INFLUENCER_NUMBERS, INFLUENCER_VECTORS, INFLUENCER_COUNT,
)  # fmt: skip
MODELS: Final = {
    DECODE: Signature(_some(IMAGE), _some(PIXELS, PICTURE_SIZE)),
    DETECT_FACES: Signature(_some(PIXELS), _some(*_FACES, CARD)),
    **dict.fromkeys(_ATTRIBUTES, Signature(_some(PIXELS, BOXES, FACE_COUNT), _some(PROBABILITIES, CARD))),
    RECOMMEND_PRODUCTS: _products_signature(*BACKBONES),
    RECOMMEND_PRODUCTS_FAST: _products_signature(FAST_BACKBONE),
    embed_model(EMBEDDER): embedding_signature(EMBEDDERS[EMBEDDER]),
    gallery_model(EMBEDDER): gallery_signature(EMBEDDERS[EMBEDDER]),
    match_faces_model(EMBEDDER): match_faces_signature(EMBEDDER, EMBEDDERS[EMBEDDER]),
    UPLIFT_OFFER: Signature(_some(CUSTOMER), _some(UPLIFT, CARD, SCHEMA)),
    VARY_CREATIVE: Signature(
        _some(PIXELS, PICTURE_SIZE, WANTED), _some(VARIANT_LOGITS, CREATIVE_EMBEDDING, CARD)
    ),
    ALTERNATES: Signature(
        _some(CREATIVE_EMBEDDING, FILTER),
        _some(ALTERNATE_SCORES, ALTERNATE_IDS, ALTERNATE_LOGITS, ALTERNATE_COUNT, CARD),
    ),
    CONVERSION: Signature(
        _some(VARIANT_LOGITS, ALTERNATE_LOGITS, CONTEXT),
        _some(VARIANT_CONVERSION, ALTERNATE_CONVERSION, CARD, SCHEMA),
    ),
    OPTIMISE_CREATIVE: Signature(
        _some(IMAGE, WANTED, FILTER, CONTEXT),
        _some(
            PICTURE_SIZE, VARIANT_LOGITS, CREATIVE_EMBEDDING, ALTERNATE_SCORES, ALTERNATE_IDS,
            ALTERNATE_LOGITS, ALTERNATE_COUNT, VARIANT_CONVERSION, ALTERNATE_CONVERSION, SCHEMA,
        )
        | {card_output(model): TENSORS[CARD] for model in (VARY_CREATIVE, ALTERNATES, CONVERSION)},
    ),
    RENDER_VARIANTS: Signature(
        _some(PIXELS, PICTURE_SIZE, WANTED), _some(RENDERED, RENDERED_BOXES, CARD)
    ),
    RENDER_CREATIVE: Signature(
        _some(IMAGE, WANTED),
        _some(PICTURE_SIZE, RENDERED, RENDERED_BOXES) | {card_output(RENDER_VARIANTS): TENSORS[CARD]},
    ),
    ENGAGEMENT_MODEL: Signature(_some(PIXELS, PICTURE_SIZE, POST), _some(ENGAGEMENT, CARD)),
    PREDICT_ENGAGEMENT: Signature(
        _some(IMAGE, POST),
        _some(PICTURE_SIZE, ENGAGEMENT) | {card_output(ENGAGEMENT_MODEL): TENSORS[CARD]},
    ),
    DESCRIBE_POST: Signature(_some(PIXELS, PICTURE_SIZE), _some(POST_FEATURES, CARD)),
    DESCRIBE_POSTS: Signature(
        _some(IMAGE),
        _some(PICTURE_SIZE, POST_FEATURES) | {card_output(DESCRIBE_POST): TENSORS[CARD]},
    ),
    BRAND_TOWER: Signature(_some(ACCOUNT), _some(ACCOUNT_VECTOR, CARD, SCHEMA)),
    INFLUENCER_TOWER: Signature(_some(ACCOUNT), _some(ACCOUNT_VECTOR, CARD, SCHEMA)),
    INFLUENCERS: Signature(_some(ACCOUNT_VECTOR, FILTER, RANGES), _some(*_RANKING, CARD)),
    RANK_INFLUENCERS: Signature(
        _some(ACCOUNT, FILTER, RANGES),
        _some(ACCOUNT_VECTOR, *_RANKING, SCHEMA)
        | {card_output(model): TENSORS[CARD] for model in (BRAND_TOWER, INFLUENCERS)},
    ),
}  # fmt: skip
"""What every model of this repository takes and gives; other embedders bring three models each."""


@dataclass(frozen=True)
class ModelCard:
    """What a learned leaf says of itself in its CARD output.

    ``skill`` holds one weight a label in [0, 1], by held-out *real* data: 2 AUC - 1, and of an offer its
    Qini coefficient (1 with perfect hindsight); 0 where it may be chance or was never measured on real
    data. ``starter`` is true where seeded weights, or weights learned from generated customers, stand in
    for real ones: speed is then real and accuracy is not.
    """

    model: str
    weights: str
    """First 16 hex digits of the SHA-256 over all parameters of the model."""
    starter: bool
    labels: tuple[str, ...] = ()
    skill: tuple[float, ...] = field(default=())

    def to_bytes(self) -> bytes:
        """UTF-8 JSON, padded with spaces to CARD_BYTES, as carried by the CARD tensor.

        Raises:
            ValueError: the card is longer than that, or has more than MAX_LABELS labels.
        """
        data = json.dumps(asdict(self), separators=(",", ":")).encode()
        if len(data) > CARD_BYTES or len(self.labels) > MAX_LABELS:
            raise ValueError(
                f"card of {self.model}: {len(data)} bytes and {len(self.labels)} labels; "
                f"at most {CARD_BYTES} and {MAX_LABELS} travel"
            )
        return data.ljust(CARD_BYTES)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a CARD tensor's bytes; unknown keys of newer servers are ignored.

        Raises:
            ValueError: ``data`` is no JSON object, or lacks a key.
        """
        try:
            return cls(**cls._read(json.loads(data)))
        except (KeyError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(f"not a model card: {data[:80]!r} ({error!r})") from error

    @classmethod
    def _read(cls, raw: dict[str, Any]) -> dict[str, Any]:
        return {
            "model": str(raw["model"]),
            "weights": str(raw["weights"]),
            "starter": bool(raw["starter"]),
            "labels": tuple(map(str, raw["labels"])),
            "skill": tuple(map(float, raw["skill"])),
        }


@dataclass(frozen=True)
class EmbedderCard(ModelCard):
    """What an embedder says of itself.

    Two faces are taken for one person's from a cosine similarity of ``threshold`` on.
    """

    embedder: str = ""
    dimension: int = 0
    threshold: float = 0.0

    @classmethod
    def _read(cls, raw: dict[str, Any]) -> dict[str, Any]:
        return super()._read(raw) | {
            "embedder": str(raw["embedder"]),
            "dimension": int(raw["dimension"]),
            "threshold": float(raw["threshold"]),
        }


@dataclass(frozen=True)
class GalleryCard(ModelCard):
    """What a gallery says of itself; ``weights`` is the digest of all it holds and of its origin."""

    embedder: str = ""
    embedder_weights: str = ""
    """``weights`` of the card of the embedder that made the vectors."""
    photos: int = 0
    attributes: tuple[str, ...] = ()
    """Names by which FILTER can choose."""

    @classmethod
    def _read(cls, raw: dict[str, Any]) -> dict[str, Any]:
        return super()._read(raw) | {
            "embedder": str(raw["embedder"]),
            "embedder_weights": str(raw["embedder_weights"]),
            "photos": int(raw["photos"]),
            "attributes": tuple(map(str, raw["attributes"])),
        }


@dataclass(frozen=True)
class EngagementCard(ModelCard):
    """What a predictor of engagement says of itself; its labels are ENGAGEMENT_CLASSES.

    ``signal`` is false where, on posts that nothing was learned from, it was not significantly more often
    right than whoever always says the most frequent class: its answers then mean nothing.
    """

    signal: bool = False
    accuracy: float = 0.0
    """On those posts."""
    picture_signal: bool = False
    """The same where nothing of their context is known: whether it tells pictures apart."""
    picture_accuracy: float = 0.0
    """On those posts, without their context."""
    majority: float = 0.0
    """Share of the most frequent class among them."""
    boundaries: tuple[float, ...] = ()
    """Likes and comments together from which on a post is neutral, and above which it is high; none where
    each account has boundaries of its own."""
    reads: tuple[str, ...] = ()
    """``image``, ``context``, or both."""

    @classmethod
    def _read(cls, raw: dict[str, Any]) -> dict[str, Any]:
        return super()._read(raw) | {
            "signal": bool(raw["signal"]),
            "accuracy": float(raw["accuracy"]),
            "picture_signal": bool(raw["picture_signal"]),
            "picture_accuracy": float(raw["picture_accuracy"]),
            "majority": float(raw["majority"]),
            "boundaries": tuple(map(float, raw["boundaries"])),
            "reads": tuple(map(str, raw["reads"])),
        }
