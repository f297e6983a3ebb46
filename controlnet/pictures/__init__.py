"""How pictures look and are written with their data: of the papers, of a run, of measurements."""
