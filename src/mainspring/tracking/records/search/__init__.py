"""Searches as statements: filters into conditions, orders into pages, for runs, experiments and logged models."""
