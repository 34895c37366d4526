"""The papers' printed numbers, as data (`*.yaml`) and read (`numbers`)."""
