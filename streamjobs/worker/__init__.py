"""The thin shell round the engine: loop, commit cycle, runner."""
