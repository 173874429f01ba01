"""Micro-influencers for a brand: what is known of accounts, what makes two fit, and how well (job 5)."""
