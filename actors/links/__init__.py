"""Links between processes: frames, sequence numbers, windows, resending."""
