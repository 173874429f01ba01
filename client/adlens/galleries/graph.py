"""The search of a gallery as an ONNX graph: exact, for all filled face slots of a batch at once.

The same for every gallery: vectors, ids and attributes are its initializers, which lie in files of their
own, so that ONNX Runtime maps them into memory. In three steps:

1. ``may``: which photos the filter admits, judged once for each *group*, the rows with equal attributes.
   Group 0 is the padding, which no filter admits.
2. ``best``: of each block of BLOCK rows the highest cosine among those. It goes by chunks of CHUNK rows, so
   that the cosines stay in the processor's cache. All at once take 50 MB for 64 faces and 200,000 photos,
   and where that is given back after each request, as here, the search takes twice its time.
3. ``found``: the MATCHES best rows, which lie in the MATCHES best blocks; only their rows are compared again.

A face that is not there costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adlens import contract
from adlens.errors import InvalidConfiguration

BLOCK: Final = 32
"""Rows of a block: with more, more rows have to be compared again; with fewer, there are more blocks."""
CHUNK: Final = 4096
"""Rows of a chunk; 1,024 and 16,384 take longer."""
_CANDIDATES: Final = contract.MATCHES * BLOCK
"""Rows that are compared again."""
_IR, _OPSET = 9, 18

_GRAPH: Final = """
<ir_version: {ir}, opset_import: ["": {opset}]>
gallery (
  float[batch, {faces}, {dimension}] FACE_EMBEDDING,
  int32[batch, 1] FACE_COUNT,
  int64[batch, {clauses}, {alternatives}] FILTER
) => (
  float[batch, {faces}, {matches}] MATCH_SCORES,
  uint8[batch, {faces}, {matches}, {id_bytes}] MATCH_IDS,
  int32[batch, 1] MATCH_COUNT,
  uint8[batch, {card_bytes}] CARD
) <
  int64[1] axis_0 = {{0}}, int64[1] axis_1 = {{1}}, int64[1] axis_2 = {{2}}, int64[1] axis_3 = {{3}},
  int64[1] one = {{1}}, int64[1] flat = {{-1}}, int64 zero = {{0}}, float out = {{-4}}, float in = {{0}},
  float shortest = {{0.5}}, float longest = {{2}}, float no_match = {{{no_match}}}, uint8 no_byte = {{0}},
  int64 faces = {{{faces}}}, int64[1] some_faces = {{{faces}}}, int64[1] id_bytes = {{{id_bytes}}},
  int64[2] vector_rows = {{-1, {dimension}}}, int64 block_rows = {{{block}}},
  int64[3] chunk_blocks = {{{chunk_blocks}, {block}, -1}}, int64[2] all_blocks = {{{all_blocks}, -1}},
  int64 chunk_rows = {{{chunk_rows}}}, int64[2] candidates = {{-1, {candidates}}},
  int64[1] matches = {{{matches}}},
  int64[3] scores_shape = {{-1, {faces}, {matches}}},
  int64[4] ids_shape = {{-1, {faces}, {matches}, {id_bytes}}}
> {{
  # The faces: filled slots whose embedding has about length 1, which NaN has not.
  in_count = Less (slots, FACE_COUNT)
  length = ReduceSumSquare <keepdims = 0> (FACE_EMBEDDING, axis_2)
  is_long = Greater (length, shortest)
  is_short = Less (length, longest)
  is_unit = And (is_long, is_short)
  is_face = And (in_count, is_unit)
  is_face_flat = Reshape (is_face, flat)
  face_nonzero = NonZero (is_face_flat)
  face = Squeeze (face_nonzero, axis_0)
  picture = Div (face, faces)
  embeddings = Reshape (FACE_EMBEDDING, vector_rows)
  queries = Gather <axis = 0> (embeddings, face)
  queries_t = Transpose <perm = [1, 0]> (queries)

  # May a face have the photos of a group, [groups, faces]?
  is_empty = Equal (FILTER, zero)
  is_set = Not (is_empty)
  set_byte = Cast <to = 2> (is_set)
  any_set_byte = ReduceMax <keepdims = 0> (set_byte)
  any_set = Cast <to = 9> (any_set_byte)
  batch = Shape <end = 1> (FACE_COUNT)
  may = If (any_set) <
    then_branch = filtered () => (bool[groups, batch] may_filtered) {{
      codes = Unsqueeze (FILTER, axis_3)
      is_code = Unsqueeze (is_set, axis_3)
      equal = Equal (codes, values)
      hit = And (equal, is_code)
      hit_byte = Cast <to = 2> (hit)
      hit_any = ReduceMax <keepdims = 0> (hit_byte, axis_2)
      hit_group = Gather <axis = 2> (hit_any, group_values)
      group_hit = ReduceMax <keepdims = 0> (hit_group, axis_3)
      is_code_byte = Cast <to = 2> (is_set)
      is_clause = ReduceMax (is_code_byte, axis_2)
      is_missed = Greater (is_clause, group_hit)
      missed_byte = Cast <to = 2> (is_missed)
      missed_any = ReduceMax <keepdims = 0> (missed_byte, axis_1)
      missed = Cast <to = 9> (missed_any)
      passed = Not (missed)
      passed_real = And (passed, is_real)
      may_filtered = Transpose <perm = [1, 0]> (passed_real)
    }},
    else_branch = unfiltered () => (bool[groups, batch] may_all) {{
      is_real_column = Unsqueeze (is_real, axis_1)
      columns = Concat <axis = 0> (one, batch)
      may_all = Expand (is_real_column, columns)
    }}
  >
  may_face = Gather <axis = 1> (may, picture)
  group_bias = Where (may_face, in, out)

  # The best of each block, [blocks, faces].
  best_of_chunks = Scan <num_scan_inputs = 2,
    body = chunk (float[rows, {dimension}] some_vectors, int32[rows] some_groups) => (float[b, q] best_of) {{
      cosine = MatMul (some_vectors, queries_t)
      bias = Gather <axis = 0> (group_bias, some_groups)
      biased = Add (cosine, bias)
      in_blocks = Reshape (biased, chunk_blocks)
      best_of = ReduceMax <keepdims = 0> (in_blocks, axis_1)
    }}
  > (vectors, groups)
  best = Reshape (best_of_chunks, all_blocks)

  # The rows of the best blocks, [faces, rows], and the best of these.
  best_first, block = TopK <axis = 0> (best, matches)
  block_of_face = Transpose <perm = [1, 0]> (block)
  first_row = Mul (block_of_face, block_rows)
  first_row_of = Unsqueeze (first_row, axis_2)
  row_of = Add (first_row_of, offsets)
  row = Reshape (row_of, candidates)
  chunk = Div (row, chunk_rows)
  chunk_column = Unsqueeze (chunk, axis_2)
  in_chunk = Mod (row, chunk_rows)
  in_chunk_column = Unsqueeze (in_chunk, axis_2)
  place = Concat <axis = 2> (chunk_column, in_chunk_column)
  near = GatherND (vectors, place)
  query_column = Unsqueeze (queries, axis_2)
  near_cosine = MatMul (near, query_column)
  score = Squeeze (near_cosine, axis_2)
  group_int = GatherND (groups, place)
  group = Cast <to = 7> (group_int)
  may_of_face = Transpose <perm = [1, 0]> (may_face)
  may_row = GatherElements <axis = 1> (may_of_face, group)
  admitted = Where (may_row, score, no_match)
  found, found_at = TopK <axis = 1> (admitted, matches)
  found_row = GatherElements <axis = 1> (row, found_at)
  id = Gather <axis = 0> (ids, found_row)
  is_none = Equal (found, no_match)
  is_none_column = Unsqueeze (is_none, axis_2)
  found_id = Where (is_none_column, no_byte, id)

  # Back to the slots.
  slot = Unsqueeze (face, axis_1)
  slot_count = Mul (batch, some_faces)
  no_scores_shape = Concat <axis = 0> (slot_count, matches)
  no_scores = Expand (no_match, no_scores_shape)
  scores = ScatterND (no_scores, slot, found)
  MATCH_SCORES = Reshape (scores, scores_shape)
  no_ids_shape = Concat <axis = 0> (slot_count, matches, id_bytes)
  no_ids = Expand (no_byte, no_ids_shape)
  all_ids = ScatterND (no_ids, slot, found_id)
  MATCH_IDS = Reshape (all_ids, ids_shape)
  may_number = Cast <to = 6> (may)
  admitted_sizes = Mul (may_number, sizes)
  admitted_photos = ReduceSum <keepdims = 0> (admitted_sizes, axis_0)
  MATCH_COUNT = Unsqueeze (admitted_photos, axis_1)
  card_rows = Concat <axis = 0> (batch, one)
  CARD = Expand (card, card_rows)
}}
"""

Array = npt.NDArray[Any]


def padded(photos: int) -> tuple[int, int]:
    """Chunks, and rows of a chunk, into which a gallery of so many photos is padded."""
    blocks = max(-(-photos // BLOCK), contract.MATCHES)
    rows = min(blocks * BLOCK, CHUNK)
    return -(-photos // rows) or 1, rows


def build(arrays: Mapping[str, Array], files: Mapping[str, str]) -> bytes:
    """Write the graph of one gallery.

    Args:
        arrays: its initializers, with C chunks of R rows as ``padded`` says, G groups, A attributes and V
            values: ``vectors`` float32 [C, R, D], ``ids`` uint8 [C * R, ID_BYTES], ``groups`` int32 [C, R],
            ``group_values`` int64 [G, A], places in ``values`` int64 [V], which holds ``filter_code``s,
            ``is_real`` bool [G], ``sizes`` int32 [G, 1] and ``card`` uint8 [1, CARD_BYTES].
        files: of these, the ones that lie in files of their own, and these files' names.

    Raises:
        InvalidConfiguration: the package ``onnx`` is missing.
    """
    onnx = _onnx()
    chunks, rows, dimension = arrays["vectors"].shape
    model = onnx.parser.parse_model(
        _GRAPH.format(
            ir=_IR, opset=_OPSET, dimension=dimension, faces=contract.MAX_FACES,
            clauses=contract.MAX_CLAUSES, alternatives=contract.MAX_ALTERNATIVES,
            matches=contract.MATCHES, id_bytes=contract.ID_BYTES, card_bytes=contract.CARD_BYTES,
            no_match=contract.NO_MATCH, block=BLOCK, chunk_rows=rows, chunk_blocks=rows // BLOCK,
            all_blocks=chunks * rows // BLOCK, candidates=_CANDIDATES,
        )
    )  # fmt: skip
    fixed = {
        "slots": np.arange(contract.MAX_FACES, dtype=np.int32),
        "offsets": np.arange(BLOCK).reshape(1, 1, BLOCK),
    }
    for name, array in {**fixed, **arrays}.items():
        tensor = model.graph.initializer.add(
            name=name, dims=array.shape, data_type=onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        )
        if name in files:
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=files[name])
        else:
            tensor.raw_data = array.tobytes()
    return bytes(model.SerializeToString())


def _onnx() -> ModuleType:
    try:
        import onnx
        import onnx.parser
    except ImportError as error:
        raise InvalidConfiguration(
            "to change a gallery the package onnx is needed; run: pip install 'adlens[gallery]'"
        ) from error
    return onnx
