"""Where the scans of payment receipts are kept: a folder here, your object storage in life."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID


class ReceiptFolder:
    """Scans by payment. A scan is there whole, or it is not there."""

    def __init__(self, folder: Path) -> None:
        """folder: made when the first scan comes."""
        self._folder = folder

    async def keep(self, payment_id: UUID, scan: bytes) -> None:
        """Keep the payment's `scan`; the same again changes nothing. Raises OSError."""
        await asyncio.to_thread(self._write, self._file(payment_id), scan)

    async def has(self, payment_id: UUID) -> bool:
        """Whether the payment's scan is here. Raises OSError."""
        return await asyncio.to_thread(self._file(payment_id).is_file)

    def _file(self, payment_id: UUID) -> Path:
        return self._folder / f"{payment_id}.pdf"

    def _write(self, file: Path, scan: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_bytes(scan)
        part.replace(file)
