"""Where callers come in: a gRPC proxy that guards a Triton which may come and go behind it.

Triton 24.10 has no limit on a request's size nor on what is in flight, answers NOT_FOUND while it shuts
down, and gives one status, UNAVAILABLE, to a full queue, a denied call and its own death. The door adds
what is missing, and tells these apart by ``adlens.contract.Reason``.

| file | what |
|---|---|
| ``facade`` | ``Door``: the door for threads, with an event loop of its own |
| ``options`` | where it is, and whom it lets in |
| ``guard`` | lets calls in, has them wait, refuses them |
| ``triton`` | passes them on, and reads Triton's failures |
| ``cache`` | answers to requests that came before, where that is wanted |
| ``refusals`` | what callers are told that get no answer |
| ``flaws`` | knows requests that harm others |
| ``quarantine`` | finds requests that kill |
"""

from server.door.facade import Door
from server.door.options import DoorOptions, DoorTls

__all__ = ["Door", "DoorOptions", "DoorTls"]
