"""The commands, one module each; `registry` names them."""
