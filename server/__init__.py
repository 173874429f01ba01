"""Triton from pip: launcher, canary and stand-in backends. Run from the checkout, never installed."""
