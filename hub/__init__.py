"""The cloud side: accepts the boxes, hands them tasks, and keeps the ledger of all that happened."""
