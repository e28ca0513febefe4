"""The command line: parse, call one verb, print. The only layer that prints, exits or catches errors."""
