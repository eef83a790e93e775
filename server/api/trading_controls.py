"""Trading controls: read, and set for the demo book."""

from __future__ import annotations

from starlette.responses import Response

from ..ledger.accounts import check_user_id
from ..ledger.trading.trades import DEMO_BOOK
from ..operations.trading_controls import TradingControlSetting, set_control
from .answers import answer
from .calls import Call
from .schemas import TradingControl


async def read_control(call: Call) -> Response:
    """How the user's options in the demo book end that are opened from now on."""
    user_id = check_user_id(call.path["user"])
    mode = await call.services.manager.trading.control(user_id)
    return answer(TradingControl(user_id=user_id, mode=mode, book=DEMO_BOOK))


async def put_control(call: Call, request: TradingControlSetting) -> Response:
    """Decide how the user's options in the demo book end that are opened from now on."""
    key, manager, user_id = call.key(), call.services.manager, call.path["user"]
    receipt = await manager.post(
        await manager.prepare(
            lambda catalog: set_control(
                catalog, manager.types, call.principal, user_id, request, key
            )
        )
    )
    return answer(
        TradingControl(user_id=user_id, mode=request.mode, book=request.in_book),
        headers={"Idempotent-Replayed": "true"} if receipt.replayed else None,
    )
