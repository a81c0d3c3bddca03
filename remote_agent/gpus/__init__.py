"""The GPUs of an agent: which there are, who holds them, and that nobody else uses them."""
