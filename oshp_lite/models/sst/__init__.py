"""Scalable Semantic Transfer (Yang et al., CVPR 2023): one parsing network over several label domains."""
