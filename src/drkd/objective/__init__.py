"""The equation: losses, the terms that add up to an objective, schedules of weights."""
