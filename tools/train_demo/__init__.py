"""How the two demo checkpoints were trained: run the modules with `python -m`, see README.md."""
