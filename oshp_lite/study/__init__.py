"""Batch reproduction: the run store, notebook execution through papermill, the report."""
