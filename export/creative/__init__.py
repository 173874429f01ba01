"""Versions of a picture: how they are made, told apart, and how likely each converts (job 3)."""
