"""Many runs: comparison, tuning, reproduction, benchmarks, their jobs and statistics."""
