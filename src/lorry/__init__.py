"""lorry fine-tunes open-weight models with LoRA, here or on a rented GPU, and brings the adapter home, tested."""
