"""Performance without labels: what the scores themselves say about how right they are, as long as concepts hold.

An estimate sees a change of the inputs. It can't see that the same inputs now mean something else: that is the gap
between it and what labels show later.
"""
