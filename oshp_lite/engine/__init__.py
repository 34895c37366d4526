"""Floor 4: what a run is, how it is trained, judged and kept."""
