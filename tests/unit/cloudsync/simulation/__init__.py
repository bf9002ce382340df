"""A box, its copies and its hub in one thread, driven step by step and held against what is durable."""
