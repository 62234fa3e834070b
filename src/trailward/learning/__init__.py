"""Learning: demonstrations and a diffuser to a learnt reward."""
