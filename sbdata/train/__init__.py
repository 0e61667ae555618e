"""Training, prediction and refinement; these modules need PyTorch (extra ``train``)."""
