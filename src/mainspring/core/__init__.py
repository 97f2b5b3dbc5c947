"""The ground everything stands on: ids, time, errors, callers, facts, settings and wiring. Imports nothing of ours."""
