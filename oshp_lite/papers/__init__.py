"""Floor 5: what the papers state, as data, and the forms they print where the networks use others."""
