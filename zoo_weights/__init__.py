"""Pretrained weights and their manifest; `kdzoo.load` reads them."""
