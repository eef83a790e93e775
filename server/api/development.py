"""Development mode only: tokens for the asking, from this machine."""

from __future__ import annotations

from starlette.responses import Response

from ..ledger.errors import NotAllowed
from ..settings import is_loopback
from .answers import answer
from .bodies import TokenRequest
from .calls import Call

TOKEN_SECONDS = 24 * 3600


async def create_token(call: Call, request: TokenRequest) -> Response:
    """A token for any user and role; the Host must be loopback, against DNS rebinding."""
    host = call.request.headers.get("host", "")
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    if not is_loopback(name):
        raise NotAllowed("development tokens are for this machine only")
    role = "user" if request.role is None else request.role
    token = call.services.tokens.encode(request.user_id, role, TOKEN_SECONDS)
    return answer({"token": token})
