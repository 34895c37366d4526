"""The authors' checkpoints: their parameter names and ours, both ways."""
