"""Networks in torch, and the operators they need beyond torch's own."""
