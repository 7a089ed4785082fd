"""How captioners learn: one loop, one objective at a time (words, rewards, a teacher), whole trainings in one call."""
