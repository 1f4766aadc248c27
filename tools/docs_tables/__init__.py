"""The tables of README.md and docs/: which columns and cells they have, and how pages get them."""
