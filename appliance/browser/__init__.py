"""Browser tasks on the box: the resident browser, the steps it performs, and what it may reach."""
