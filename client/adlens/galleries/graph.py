"""The search of a gallery as an ONNX graph: exact, for all vectors of a batch at once.

The same for every gallery, of faces, of pictures and of influencers: vectors, ids and attributes are its
initializers, which lie in files of their own, so that ONNX Runtime maps them into memory. In three steps:

1. ``may``: which records the filter admits, judged once for each *group*, the rows with equal attributes.
   Group 0 is the padding, which no filter admits. Where the kind has ranges, these are judged row by row;
   an unknown number, NaN, lies only within a range that is open at both ends.
2. ``best``: of each block of BLOCK rows the highest score among those. It goes by chunks of CHUNK rows, so
   that the scores stay in the processor's cache. All at once take 50 MB for 64 faces and 200,000 photos,
   and where that is given back after each request, as here, the search takes twice its time.
3. ``found``: the best rows, as many as the kind has in an answer, which lie in as many best blocks; only
   their rows are compared again. Of equal ones the first that was added comes first, as TopK gives lower
   places first, and blocks are put back into their order beforehand.

A face slot that is not filled costs nothing, nor does a picture whose embedding is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from adlens import contract
from adlens.errors import InvalidConfiguration
from adlens.galleries.kinds import Kind

BLOCK: Final = 32
"""Rows of a block: with more, more rows have to be compared again; with fewer, there are more blocks."""
CHUNK: Final = 4096
"""Rows of a chunk; 1,024 and 16,384 take longer."""
_IR, _OPSET = 9, 18

_GRAPH: Final = """
<ir_version: {ir}, opset_import: ["": {opset}]>
gallery (
  float[batch, {axes}{dimension}] {embedding},
  {count_input}
  {ranges_input}
  int64[batch, {clauses}, {alternatives}] FILTER
) => (
  float[batch, {axes}{matches}] {scores},
  uint8[batch, {axes}{matches}, {id_bytes}] {ids},
  {payload_output}
  {vectors_output}
  int32[batch, 1] {passing},
  uint8[batch, {card_bytes}] CARD
) <
  int64[1] axis_0 = {{0}}, int64[1] axis_1 = {{1}}, int64[1] axis_2 = {{2}}, int64[1] axis_3 = {{3}},
  int64[1] last = {{-1}},
  int64[1] one = {{1}}, int64[1] flat = {{-1}}, int64 zero = {{0}},
  int64 slots_of_one = {{{slots}}}, int64[1] some_slots = {{{slots}}},
  int64[2] vector_rows = {{-1, {dimension}}}, int64 block_rows = {{{block}}},
  int64[3] chunk_blocks = {{{chunk_blocks}, {block}, -1}}, int64[2] all_blocks = {{{all_blocks}, -1}},
  int64 chunk_rows = {{{chunk_rows}}}, int64[2] candidates = {{-1, {candidates}}},
  int64[1] matches = {{{matches}}}
> {{
  # The queries: filled slots with an embedding, in most kinds of about length 1, which NaN has not.
  {in_count}
  length = ReduceSumSquare <keepdims = 0> ({embedding}, last)
  is_long = Greater (length, shortest)
  is_short = Less (length, longest)
  is_unit = And (is_long, is_short)
  is_query = And (in_count, is_unit)
  is_query_flat = Reshape (is_query, flat)
  query_nonzero = NonZero (is_query_flat)
  query = Squeeze (query_nonzero, axis_0)
  picture = Div (query, slots_of_one)
  embeddings = Reshape ({embedding}, vector_rows)
  queries = Gather <axis = 0> (embeddings, query)
  queries_t = Transpose <perm = [1, 0]> (queries)

  # May a query have the photos of a group, [groups, queries]?
  is_empty = Equal (FILTER, zero)
  is_set = Not (is_empty)
  set_byte = Cast <to = 2> (is_set)
  any_set_byte = ReduceMax <keepdims = 0> (set_byte)
  any_set = Cast <to = 9> (any_set_byte)
  batch = Shape <end = 1> (FILTER)
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
  {admitted}

  # The best of each block, [blocks, queries].
  best_of_chunks = Scan <num_scan_inputs = 2,
    body = chunk (float[rows, {dimension}] some_vectors, {some_input}) => (float[b, q] best_of) {{
      some_scores = MatMul (some_vectors, queries_t)
      {some_admitted}
      in_blocks = Reshape (some_admitted, chunk_blocks)
      best_of = ReduceMax <keepdims = 0> (in_blocks, axis_1)
    }}
  > (vectors, {some})
  best = Reshape (best_of_chunks, all_blocks)

  # The rows of the best blocks, [queries, rows], and the best of these.
  best_first, best_block = TopK <axis = 0> (best, matches)
  block, block_from = TopK <axis = 0, largest = 0> (best_block, matches)
  block_of_query = Transpose <perm = [1, 0]> (block)
  first_row = Mul (block_of_query, block_rows)
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
  near_score = MatMul (near, query_column)
  score = Squeeze (near_score, axis_2)
  {may_row}
  admitted = Where (may_row, score, no_match)
  found, found_at = TopK <axis = 1> (admitted, matches)
  found_row = GatherElements <axis = 1> (row, found_at)
  is_none = Equal (found, no_match)
  is_none_column = Unsqueeze (is_none, axis_2)

  # Back to the slots.
  slot = Unsqueeze (query, axis_1)
  slot_count = Mul (batch, some_slots)
  no_scores_shape = Concat <axis = 0> (slot_count, matches)
  no_scores = Expand (no_match, no_scores_shape)
  all_scores = ScatterND (no_scores, slot, found)
  {scores} = Reshape (all_scores, scores_shape)
  {carried}
  {passing_count}
  {passing} = Unsqueeze (passing_of, axis_1)
  card_rows = Concat <axis = 0> (batch, one)
  CARD = Expand (card, card_rows)
}}
"""

_CARRIED: Final = """
  {name}_found = {gather}
  {name}_or_none = Where (is_none_column, {name}_none, {name}_found)
  {name}_none_shape = Concat <axis = 0> (slot_count, matches, {name}_width)
  {name}_nowhere = Expand ({name}_none, {name}_none_shape)
  {name}_all = ScatterND ({name}_nowhere, slot, {name}_or_none)
  {output} = Reshape ({name}_all, {name}_shape)
"""
"""What comes with each row found: its id, its payload, its vector."""

_BY_GROUP: Final = {
    "admitted": """
  may_query = Gather <axis = 1> (may, picture)
  group_bias = Where (may_query, in, out)
""",
    "some": "groups",
    "some_input": "int32[rows] some_groups",
    "some_admitted": """
      some_bias = Gather <axis = 0> (group_bias, some_groups)
      some_admitted = Add (some_scores, some_bias)
""",
    "may_row": """
  group_int = GatherND (groups, place)
  group = Cast <to = 7> (group_int)
  may_of_query = Transpose <perm = [1, 0]> (may_query)
  may_row = GatherElements <axis = 1> (may_of_query, group)
""",
    "passing_count": """
  may_number = Cast <to = 6> (may)
  admitted_sizes = Mul (may_number, sizes)
  passing_of = ReduceSum <keepdims = 0> (admitted_sizes, axis_0)
""",
}
"""Where a filter alone admits."""

_BY_ROW: Final = {
    "admitted": """
  # And is a row within all ranges, [batch, rows]?
  numbers_t = Transpose <perm = [1, 0]> (numbers)
  low = Gather <axis = 2> ({ranges}, at_low)
  high = Gather <axis = 2> ({ranges}, at_high)
  is_from = GreaterOrEqual (numbers_t, low)
  is_to = LessOrEqual (numbers_t, high)
  is_inside = And (is_from, is_to)
  is_open_below = Equal (low, lowest)
  is_open_above = Equal (high, highest)
  is_open = And (is_open_below, is_open_above)
  is_within = Or (is_inside, is_open)
  within_byte = Cast <to = 2> (is_within)
  within_all = ReduceMin <keepdims = 0> (within_byte, axis_1)
  within = Cast <to = 9> (within_all)
  may_t = Transpose <perm = [1, 0]> (may)
  may_in_chunks = Gather <axis = 1> (may_t, groups)
  may_rows = Reshape (may_in_chunks, all_rows)
  admits = And (may_rows, within)
  admits_in_chunks = Reshape (admits, by_chunks)
  admits_chunks = Transpose <perm = [1, 2, 0]> (admits_in_chunks)
""",
    "some": "admits_chunks",
    "some_input": "bool[rows, n] some_admits",
    "some_admitted": """
      some_may = Gather <axis = 1> (some_admits, picture)
      some_admitted = Where (some_may, some_scores, no_match)
""",
    "may_row": """
  admits_of_query = Gather <axis = 0> (admits, picture)
  may_row = GatherElements <axis = 1> (admits_of_query, row)
""",
    "passing_count": """
  admits_number = Cast <to = 6> (admits)
  passing_of = ReduceSum <keepdims = 0> (admits_number, axis_1)
""",
}
"""Where ranges do, too."""

_ROW: Final = "Gather <axis = 0> ({name}, found_row)"
_VECTOR: Final = "GatherND ({name}, found_place)"
_FOUND_PLACE: Final = """
  found_chunk = Div (found_row, chunk_rows)
  found_chunk_column = Unsqueeze (found_chunk, axis_2)
  found_in_chunk = Mod (found_row, chunk_rows)
  found_in_chunk_column = Unsqueeze (found_in_chunk, axis_2)
  found_place = Concat <axis = 2> (found_chunk_column, found_in_chunk_column)
"""
_UNIT: Final = (0.5, 2.0)
"""Within which the square of a length lies that counts as 1."""
_OUT: Final = -4.0
"""Brings every cosine below all others."""

Array = npt.NDArray[Any]


def padded(records: int, found: int = contract.MATCHES) -> tuple[int, int]:
    """Chunks, and rows of a chunk, into which a gallery is padded that gives out ``found`` of its records."""
    blocks = max(-(-records // BLOCK), found)
    rows = min(blocks * BLOCK, CHUNK)
    return -(-records // rows) or 1, rows


def build(kind: Kind, arrays: Mapping[str, Array], files: Mapping[str, str]) -> bytes:
    """Write the graph of one gallery.

    Args:
        kind: of the gallery.
        arrays: its initializers, with C chunks of R rows as ``padded`` says, G groups, A attributes and V
            values: ``vectors`` float32 [C, R, D], ``ids`` uint8 [C * R, ID_BYTES], ``groups`` int32 [C, R],
            ``group_values`` int64 [G, A], places in ``values`` int64 [V], which holds ``filter_code``s,
            ``is_real`` bool [G] and ``card`` uint8 [1, CARD_BYTES]; where the kind has a payload, that by its
            name, float32 [C * R, width]; where it has no ranges, ``sizes`` int32 [G, 1], rows of a group.
        files: of these, the ones that lie in files of their own, and these files' names.

    Raises:
        InvalidConfiguration: the package ``onnx`` is missing.
    """
    onnx = _onnx()
    model = onnx.parser.parse_model(_text(kind, arrays["vectors"].shape))
    for name, array in {**_constants(kind, arrays), **arrays}.items():
        tensor = model.graph.initializer.add(
            name=name, dims=array.shape, data_type=onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        )
        if name in files:
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=files[name])
        else:
            tensor.raw_data = array.tobytes()
    return bytes(model.SerializeToString())


def _carried(kind: Kind) -> dict[str, str]:
    """Initializers whose rows travel with what is found, and the outputs in which they do."""
    found = {"ids": kind.ids}
    if kind.payload:
        found[kind.payload.name] = kind.payload.output
    return found | ({"vectors": kind.vectors} if kind.vectors else {})


def _text(kind: Kind, shape: tuple[int, ...]) -> str:
    """The graph for ``vectors`` of ``shape``, without its initializers."""
    (chunks, rows, dimension), found = shape, kind.found
    axes = "".join(f"{size}, " for size in kind.axes)
    by = {
        name: text.format(ranges=kind.ranges)
        for name, text in (_BY_ROW if kind.ranges else _BY_GROUP).items()
    }
    carried = "".join(
        _CARRIED.format(
            name=name, output=output, gather=(_VECTOR if name == "vectors" else _ROW).format(name=name)
        )
        for name, output in _carried(kind).items()
    )
    return _GRAPH.format(
        ir=_IR, opset=_OPSET, dimension=dimension, axes=axes, slots=kind.slots or 1,
        embedding=kind.embedding, scores=kind.scores, ids=kind.ids, passing=kind.passing,
        count_input=f"int32[batch, 1] {kind.count}," if kind.count else "",
        in_count=f"in_count = Less (slots, {kind.count})" if kind.count else "",
        ranges_input=f"float[batch, {kind.width}, 2] {kind.ranges}," if kind.ranges else "",
        payload_output=f"float[batch, {axes}{found}, {kind.width}] {kind.payload.output},"
        if kind.payload else "",
        vectors_output=f"float[batch, {axes}{found}, {dimension}] {kind.vectors}," if kind.vectors else "",
        carried=(_FOUND_PLACE if kind.vectors else "") + carried,
        clauses=contract.MAX_CLAUSES, alternatives=contract.MAX_ALTERNATIVES, matches=found,
        id_bytes=contract.ID_BYTES, card_bytes=contract.CARD_BYTES, block=BLOCK, chunk_rows=rows,
        chunk_blocks=rows // BLOCK, all_blocks=chunks * rows // BLOCK, candidates=found * BLOCK, **by,
    )  # fmt: skip


def _constants(kind: Kind, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Initializers that the contents of a gallery do not change, but its size does."""
    shortest, longest = _UNIT if kind.is_unit else (0.0, np.inf)
    fixed = {
        "offsets": np.arange(BLOCK).reshape(1, 1, BLOCK),
        "scores_shape": np.array([-1, *kind.axes, kind.found]),
        "shortest": np.float32(shortest),
        "longest": np.float32(longest),
        "no_match": np.float32(kind.no_score),
    }
    if kind.slots is None:
        fixed["in_count"] = np.array([True])
    else:
        fixed["slots"] = np.arange(kind.slots, dtype=np.int32)
    if kind.ranges:
        chunks, rows, _ = arrays["vectors"].shape
        fixed |= {
            "at_low": np.array([0]),
            "at_high": np.array([1]),
            "lowest": np.float32(-np.inf),
            "highest": np.float32(np.inf),
            "all_rows": np.array([-1, chunks * rows]),
            "by_chunks": np.array([-1, chunks, rows]),
        }
    else:
        fixed |= {"in": np.float32(0), "out": np.float32(_OUT)}
    for name in _carried(kind):
        width = arrays[name].shape[-1]
        none = kind.payload.none if kind.payload and name == kind.payload.name else 0
        fixed[f"{name}_none"] = np.array(none, arrays[name].dtype)
        fixed[f"{name}_width"] = np.array([width])
        fixed[f"{name}_shape"] = np.array([-1, *kind.axes, kind.found, width])
    return {name: np.asarray(array) for name, array in fixed.items()}


def _onnx() -> ModuleType:
    try:
        import onnx
        import onnx.parser
    except ImportError as error:
        raise InvalidConfiguration(
            "to change a gallery the package onnx is needed; run: pip install 'adlens[gallery]'"
        ) from error
    return onnx
