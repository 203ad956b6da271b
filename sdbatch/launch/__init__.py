"""How one command becomes many: a dataset planned once, and made by a scheduler's tasks."""
