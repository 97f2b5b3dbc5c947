"""Telling people of alarms: channels of several kinds, one file per kind, told from the event log at least once."""
