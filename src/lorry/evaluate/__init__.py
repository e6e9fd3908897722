"""How good an adapter is: generation, metrics, intervals, samples."""
