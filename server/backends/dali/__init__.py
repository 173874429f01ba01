"""Stand-in for Triton's native DALI backend."""
