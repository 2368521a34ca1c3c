"""What a run is worth: the model's answers, the emulator's own error, controls that must fail."""
