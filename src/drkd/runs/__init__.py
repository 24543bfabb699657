"""One run: its directory, what its configuration describes, its teacher, its evaluation; the records of results."""
