"""Filter pruning: a physically smaller network, from groups of channels that go together."""
