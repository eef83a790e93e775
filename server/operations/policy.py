"""Who may ask for what (contract, section 4)."""

from __future__ import annotations

from ..auth import Principal
from ..ledger.catalog import Catalog
from ..ledger.errors import NotAllowed
from ..ledger.transaction_types import TransactionType
from .requests import Described, ForOneself


def named(principal: Principal, user_id: str) -> str:
    """The user that `user_id` names: ``me`` is the caller."""
    return principal.user_id if user_id == "me" else user_id


def require(principal: Principal, role: str) -> None:
    """Raise NotAllowed where the principal's role is below `role`."""
    if not principal.may(role):
        raise NotAllowed(f"this takes the role {role}")


def require_self_service(principal: Principal) -> None:
    """Raise NotAllowed where the principal may serve nobody: an auditor."""
    if principal.role == "auditor":
        raise NotAllowed("an auditor changes nothing")


def check_change(
    principal: Principal,
    kind: TransactionType,
    owner: str,
    book: str,
    catalog: Catalog,
    request: Described,
) -> None:
    """
    Raise NotAllowed unless `principal` may ask for this change of `kind`, paid by `owner`.

    A type of role ``user`` is self-service: for oneself, where the book allows it, without the
    fields of admins; admins may it for everybody. Raises UnknownBook too.
    """
    if kind.role != "user":
        require(principal, kind.role)
        return
    if principal.may("admin"):
        return
    if owner != principal.user_id:
        require_self_service(principal)
        raise NotAllowed("you may do this for yourself only")
    check_self_service(principal, book, catalog, request)


def check_oneself(principal: Principal, catalog: Catalog, request: ForOneself) -> None:
    """
    Raise NotAllowed unless `principal` may ask for this: for themselves, whatever their role, where
    the book allows it. Raises UnknownBook too.
    """
    require_self_service(principal)
    if request.user_id is not None and named(principal, request.user_id) != principal.user_id:
        raise NotAllowed("you may do this for yourself only", pointer="/user_id")
    check_self_service(principal, request.in_book, catalog, request)


def check_self_service(
    principal: Principal, book: str, catalog: Catalog, request: Described
) -> None:
    """
    Raise NotAllowed unless `principal` may serve themselves in `book`, without the fields of
    admins unless they are one. Raises UnknownBook too.
    """
    require_self_service(principal)
    if not principal.may("admin"):
        for field in ("internal", "effective_at"):
            if getattr(request, field) is not None:
                raise NotAllowed(f"only admins may send {field}", pointer=f"/{field}")
    if not catalog.book(book).self_service:
        raise NotAllowed(f"book {book!r} has no self-service")


def listed_owner(principal: Principal, user_id: str | None) -> str | None:
    """
    Whose things `principal` is shown, who asks for those of `user_id`: None is everybody, which
    is for auditors. Raises NotAllowed.
    """
    wanted = None if user_id is None else named(principal, user_id)
    if principal.may("auditor"):
        return wanted
    if wanted not in (None, principal.user_id):
        raise NotAllowed("you may do this for yourself only")
    return principal.user_id


def may_see(principal: Principal, owner: str) -> bool:
    """Whether what is of `owner` alone exists for `principal`: for its owner, from auditor up."""
    return principal.may("auditor") or principal.user_id == owner
