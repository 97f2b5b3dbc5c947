"""Feature views: named expressions over a dataset by entity, as they were known at any time and as they are known now.

`join` is the point-in-time join behind `history`, `latest` what is known now. Both say the same of any one moment.
"""

from __future__ import annotations

from mainspring.data.features.join import point_in_time_join

__all__ = ["point_in_time_join"]
