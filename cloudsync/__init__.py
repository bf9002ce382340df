"""What a box and a hub agree on: the vocabulary of the wire and the state machines that both ends run."""
