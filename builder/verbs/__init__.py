"""One module per verb of the command line; each offers one function that tests call directly."""
