"""What maintainers run: training and publishing the zoo, cards, tables; not installed."""
