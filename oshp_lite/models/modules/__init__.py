"""What a one-shot parser is built of: prototypes, metric modules, losses and plain layers."""
