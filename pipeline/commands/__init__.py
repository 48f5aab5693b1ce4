"""The commands of `sluice`, one module each; `cli` gathers them."""
