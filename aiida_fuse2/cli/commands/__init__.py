"""The commands, one module each; `registry` lists them."""
