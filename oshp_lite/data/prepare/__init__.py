"""From raw datasets, as people have them, to the one-shot form. The scripts in `data_scripts` are thin fronts."""
