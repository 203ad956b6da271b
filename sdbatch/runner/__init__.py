"""Who does the work and when: preparing a job, making shards, progress, signals."""
