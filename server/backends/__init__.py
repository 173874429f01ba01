"""Python-based Triton backends that stand in for NVIDIA's native ones where only pip is at hand.

Each folder holds a ``model.py``, which Triton runs for every model whose configuration names the
folder as its backend. NVIDIA's container never sees them: a native ``libtriton_<name>.so`` wins.
They are written to be no more permissive than the native backends, so that a repository that loads
here loads there, and to serve what was written for those: ``tests/conformance`` holds them to it clause
by clause. The one deliberate difference: a bad request never fails its neighbours. What stays out, and
why, stands at the head of each ``model.py``.
"""
