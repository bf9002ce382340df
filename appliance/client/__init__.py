"""The commands of a box's owner, which know its daemon by the local API alone."""
