"""Trunks in 8-bit integers: calibrated, judged against their originals, and written beside them."""
