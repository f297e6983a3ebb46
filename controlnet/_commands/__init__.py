"""Commands that work on many runs, a module each: parse, call the experiments, print."""
