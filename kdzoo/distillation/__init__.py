"""The `Distiller`, and what only it needs."""
