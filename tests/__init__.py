"""Every test of Operis: `unit` mirrors the source one to one, `system` runs whole systems of real processes."""
