"""Many runs: sweeps on one machine or many, the search for settings, what differs between runs."""
