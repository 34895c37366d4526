"""Floor 1: from files to episodes."""
