"""netinverse: the inputs of trained neural networks, reconstructed from their noisy outputs."""

__version__ = "0.1.0"
