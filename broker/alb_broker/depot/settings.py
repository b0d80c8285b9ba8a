"""What a broker tells its depot at the start, as JSON in an argument."""

from __future__ import annotations

from typing import Final

import msgspec

KEY_VARIABLE: Final = "ALB_DEPOT_KEY"
#: Of its environment: the key by which it believes a leader. Everybody can see a process's arguments.
EXIT_REFUSED: Final = 78
#: Its directory cannot be used; as in sysexits.h.


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Whose depot this is."""

    broker: str
    endpoint: str
    #: ``http://host:port``, as others know it.
    directory: str
    bytes_max: int
    log_level: str = "info"
