"""Parts of a run, each done by a process of its own: for platforms that start a container for each step.

Whoever comes first opens the run; every part leases a job of its own, so that a container that only seemed dead is
refused; what a part did already is not done again. The platform says in which order parts are started, the ledger
what is known of those before.
"""
