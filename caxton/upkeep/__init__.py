"""Looking after a data folder: verify, back up, restore, compact."""
