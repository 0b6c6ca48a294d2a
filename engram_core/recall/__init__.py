"""Recall: which memories a request needs, ranked, fitted to the budget, explained and rendered."""
