"""Competing methods behind the common interface, one short file each; docs/peers.md compares them."""
