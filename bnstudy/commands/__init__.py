"""What the commands do: each wires the other parts together and says what came of it."""
