"""What needs PyTorch (extra ``train``)."""
