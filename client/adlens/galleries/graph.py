"""The search of a gallery as an ONNX graph: exact, for all filled face slots of a batch at once.

The same for every gallery: vectors, ids and attributes are its initializers, which lie in files of their
own, so that ONNX Runtime maps them into memory. In three steps:

1. ``raw``: the cosines of all rows with all faces; the vectors stay where they are, and a face that is
   not there costs nothing.
2. ``best``: of each block of BLOCK rows the highest cosine that the filter admits. The MATCHES best rows
   lie in the MATCHES best blocks. One block more is taken, as padding may lift the last one too high.
3. ``found``: the best of the rows of those blocks, each held against the filter once more.

A filter is judged once for each *group*, the rows with equal attributes, and only where one is set.
Group 0 is the padding, which no filter admits.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adlens import contract
from adlens.errors import InvalidConfiguration

BLOCK: Final = 128
"""Rows of a block: with more, more rows have to be compared again; with fewer, more blocks."""
CANDIDATES: Final = contract.MATCHES + 1
"""Blocks whose rows are compared again."""
MIN_ROWS: Final = CANDIDATES * BLOCK
"""Rows to which a small gallery is padded."""
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
  int64[2] vector_rows = {{-1, {dimension}}}, int64[3] blocks = {{{block_count}, {block}, -1}},
  int64 block_rows = {{{block}}}, int64[2] candidate_rows = {{{candidate_rows}, -1}},
  int64[1] candidates = {{{candidates}}}, int64[1] matches = {{{matches}}},
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
  raw = MatMul (vectors, queries_t)

  # May a picture have a group's rows, [groups, batch]; and each block's best, [blocks, faces].
  is_empty = Equal (FILTER, zero)
  is_set = Not (is_empty)
  set_byte = Cast <to = 2> (is_set)
  any_set_byte = ReduceMax <keepdims = 0> (set_byte)
  any_set = Cast <to = 9> (any_set_byte)
  batch = Shape <end = 1> (FACE_COUNT)
  may, best = If (any_set) <
    then_branch = filtered () => (bool[groups, batch] may_filtered, float[blocks, faces] best_filtered) {{
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
      may_face = Gather <axis = 1> (may_filtered, picture)
      group_bias = Where (may_face, in, out)
      bias = Gather <axis = 0> (group_bias, groups)
      biased = Add (raw, bias)
      biased_blocks = Reshape (biased, blocks)
      best_filtered = ReduceMax <keepdims = 0> (biased_blocks, axis_1)
    }},
    else_branch = unfiltered () => (bool[groups, batch] may_all, float[blocks, faces] best_all) {{
      is_real_column = Unsqueeze (is_real, axis_1)
      columns = Concat <axis = 0> (one, batch)
      may_all = Expand (is_real_column, columns)
      raw_blocks = Reshape (raw, blocks)
      best_all = ReduceMax <keepdims = 0> (raw_blocks, axis_1)
    }}
  >

  # The rows of the best blocks, [rows, faces], and the best of these.
  best_first, block = TopK <axis = 0> (best, candidates)
  first_row = Mul (block, block_rows)
  first_row_of = Unsqueeze (first_row, axis_1)
  row_of = Add (first_row_of, offsets)
  row = Reshape (row_of, candidate_rows)
  score = GatherElements <axis = 0> (raw, row)
  group_int = Gather <axis = 0> (groups, row)
  group = Cast <to = 7> (group_int)
  group_start = Mul (group, batch)
  place = Add (group_start, picture)
  may_flat = Reshape (may, flat)
  may_row = Gather <axis = 0> (may_flat, place)
  admitted = Where (may_row, score, no_match)
  found, found_at = TopK <axis = 0> (admitted, matches)
  found_row = GatherElements <axis = 0> (row, found_at)
  id = Gather <axis = 0> (ids, found_row)
  is_none = Equal (found, no_match)
  is_none_column = Unsqueeze (is_none, axis_2)
  found_id = Where (is_none_column, no_byte, id)

  # Back to the slots.
  found_scores = Transpose <perm = [1, 0]> (found)
  found_ids = Transpose <perm = [1, 0, 2]> (found_id)
  slot = Unsqueeze (face, axis_1)
  slot_count = Mul (batch, some_faces)
  no_scores_shape = Concat <axis = 0> (slot_count, matches)
  no_scores = Expand (no_match, no_scores_shape)
  scores = ScatterND (no_scores, slot, found_scores)
  MATCH_SCORES = Reshape (scores, scores_shape)
  no_ids_shape = Concat <axis = 0> (slot_count, matches, id_bytes)
  no_ids = Expand (no_byte, no_ids_shape)
  all_ids = ScatterND (no_ids, slot, found_ids)
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


def build(arrays: Mapping[str, Array], files: Mapping[str, str]) -> bytes:
    """Write the graph of one gallery.

    Args:
        arrays: its initializers, with R rows (a multiple of BLOCK, MIN_ROWS at least), G groups, A
            attributes and V values: ``vectors`` float32 [R, D], ``ids`` uint8 [R, ID_BYTES], ``groups``
            int32 [R], ``group_values`` int64 [G, A], places in ``values`` int64 [V], which holds
            ``filter_code``s, ``is_real`` bool [G], ``sizes`` int32 [G, 1] and ``card`` uint8
            [1, CARD_BYTES].
        files: of these, the ones that lie in files of their own, and these files' names.

    Raises:
        InvalidConfiguration: the package ``onnx`` is missing.
    """
    onnx = _onnx()
    model = onnx.parser.parse_model(
        _GRAPH.format(
            ir=_IR, opset=_OPSET, dimension=arrays["vectors"].shape[1], faces=contract.MAX_FACES,
            clauses=contract.MAX_CLAUSES, alternatives=contract.MAX_ALTERNATIVES,
            matches=contract.MATCHES, id_bytes=contract.ID_BYTES, card_bytes=contract.CARD_BYTES,
            no_match=contract.NO_MATCH, block=BLOCK, block_count=len(arrays["vectors"]) // BLOCK,
            candidates=CANDIDATES, candidate_rows=MIN_ROWS,
        )
    )  # fmt: skip
    fixed = {
        "slots": np.arange(contract.MAX_FACES, dtype=np.int32),
        "offsets": np.arange(BLOCK).reshape(1, BLOCK, 1),
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
