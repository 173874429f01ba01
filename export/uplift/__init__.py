"""Uplift models: by how much an offer raises a customer's chance to buy, from past randomised campaigns."""
