"""The parts that gdro's own methods are made of; those of other methods are in
`gdro.controllers.contrib`."""
