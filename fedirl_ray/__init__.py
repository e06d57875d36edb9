"""Federated inverse reinforcement learning with optimal-transport reward fusion."""
