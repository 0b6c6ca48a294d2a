"""Engram for agent frameworks: one package each, imported only by who uses that framework."""
