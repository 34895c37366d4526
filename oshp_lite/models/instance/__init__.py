"""Top-down instance-level parsing: people are detected, and each is parsed in its own box (BMVC 2019)."""
