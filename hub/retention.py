"""Lets go what nothing names any more: contents of deleted tasks, parts of uploads that nobody goes on with."""

import asyncio
import logging
from typing import Final

from hub import artifacts
from hub.artifacts import Content
from hub.blobs import Blobs
from hub.errors import HubError
from hub.store import Store

log = logging.getLogger(__name__)

SWEEP_S: Final = 3600.0
# In one go, so that nobody waits for long.
BATCH: Final = 200


class Retention:
    """Keeps files and database in step."""

    def __init__(self, store: Store, blobs: Blobs) -> None:
        self._store = store
        self._blobs = blobs

    def count(self) -> None:
        """Tell the blobs what the database knows of. Once, before anything is stored."""
        for row in self._store.read_now(artifacts.USED):
            self._blobs.count(row["customer_id"], row["used"])

    async def run(self) -> None:
        """Sweep now and then, for ever."""
        while True:
            try:
                await self.sweep()
            except (HubError, OSError) as error:
                log.warning("artifacts not swept: %s", error)
            await asyncio.sleep(SWEEP_S)

    async def sweep(self) -> None:
        """Remove what nothing names; how much is logged."""
        dropped = 0
        while unused := await self._store.read(lambda c: artifacts.unused(c, BATCH)):
            for content in unused:
                dropped += await self._drop(content)
        removed = await self._blobs.sweep(self._is_known)
        if dropped or removed:
            log.info("artifacts swept: contents=%d files=%d", dropped, removed)

    async def _drop(self, content: Content) -> bool:
        async with self._blobs.lock(self._blobs.place(content)):
            is_gone = await self._store.write(lambda c: artifacts.drop(c, content))
            if is_gone:
                await self._blobs.discard(content)
        return is_gone

    def _is_known(self, customer_id: str, sha256: str) -> bool:
        return bool(self._store.read_now(artifacts.BLOB, (customer_id, sha256)))
