"""The dataset folder: metadata schema, image encoding, shard commit, merge. Knows no Paddle."""
