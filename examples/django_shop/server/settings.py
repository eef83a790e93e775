"""Settings of the shop: one database, for Django and for the ledger."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import make_url

BASE_DIR = Path(__file__).parent.parent

# The ledger takes the address as it is; Django wants it in parts.
LEDGER_URL = os.environ.get("DATABASE_URL", f"sqlite:///{BASE_DIR}/shop.db")
_url = make_url(LEDGER_URL)
DATABASES = {
    "default": {
        "ENGINE": f"django.db.backends.{_url.get_backend_name().replace('sqlite', 'sqlite3')}",
        "NAME": _url.database,
        "USER": _url.username,
        "PASSWORD": _url.password,
        "HOST": _url.host,
        "PORT": _url.port,
        # Views that use the ledger step out of this: see server/ledger.py.
        "ATOMIC_REQUESTS": True,
    }
}

SECRET_KEY = os.environ.get("SECRET_KEY", "for a shop on this machine alone")
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
INSTALLED_APPS = ["shop"]
# No sessions, so no forgery of requests either: a shop with a login adds both.
MIDDLEWARE = ["shop.problems.Problems"]
ROOT_URLCONF = "server.urls"
WSGI_APPLICATION = "server.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
