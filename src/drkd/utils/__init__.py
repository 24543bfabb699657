"""Leaves that know nothing of drkd: errors, checks, hashes, files, processes, clocks, the machine."""
