"""The work itself, one tool or concern per module. Steps never import one another."""
