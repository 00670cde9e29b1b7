"""Landmark search by agents: environment, learning, answers."""
