"""How networks are executed: device, precision, and a checkpoint made ready to run."""
