"""
The header Idempotency-Key: a repeated writing call gets the answer of the first one.

The answer is stored in the transaction of the call itself: both are committed or neither. Calls with the same key run
one at a time. A refusal is not stored: it changed nothing, and the same call may succeed later.
"""

import hashlib
import json

from django.core.exceptions import RequestDataTooBig
from django.db import DatabaseError, InterfaceError, transaction
from django.utils.translation import gettext as _
from redis.exceptions import RedisError
from rest_framework.exceptions import APIException
from rest_framework.permissions import SAFE_METHODS
from rest_framework.response import Response
from rest_framework.utils.encoders import JSONEncoder

from .. import metrics
from ..exceptions import Busy, VLANManagerError
from ..models import IdempotencyKey
from ..services.base import transactions
from ..services.base.idempotency import find_stored

__all__ = ("IdempotencyMixin",)

HEADER = "Idempotency-Key"
MAX_LENGTH = IdempotencyKey._meta.get_field("key").max_length
# The headers of an answer that are stored and replayed.
STORED_HEADERS = ("Location", "ETag")


class IdempotencyConflict(VLANManagerError):
    """The key was used for another call before."""

    code = "idempotency_conflict"


class InvalidKey(VLANManagerError):
    code = "invalid"


class _Answered(APIException):
    """Ends a call whose answer is stored already."""

    def __init__(self, stored):
        super().__init__()
        self.stored = stored


class _Refused(Exception):
    """Rolls back the call, with its events."""

    def __init__(self, response):
        self.response = response


class IdempotencyMixin:
    """Adds Idempotency-Key to a view of REST framework. In the bases it precedes the mixins that handle exceptions."""

    idempotency_key = None

    def dispatch(self, request, *args, **kwargs):
        key = request.headers.get(HEADER)
        if key is None or request.method in SAFE_METHODS:
            return super().dispatch(request, *args, **kwargs)
        try:
            with transactions.events_savepoint(), transaction.atomic():
                self.idempotency_key = key
                response = super().dispatch(request, *args, **kwargs)
                if response.status_code >= 400:
                    raise _Refused(response)
                if not getattr(response, "is_replay", False):
                    self._store(response)
        except _Refused as refused:
            return refused.response
        except (DatabaseError, InterfaceError, RedisError) as error:
            # Raised by the transaction, its COMMIT or the on_commit hooks: the view's own errors are handled already.
            self.request = self.initialize_request(request, *args, **kwargs)
            self.headers = self.default_response_headers
            return self.finalize_response(self.request, self.handle_exception(error))
        return response

    def initial(self, request, *args, **kwargs):
        super().initial(request, *args, **kwargs)
        if self.idempotency_key is None or not request.user.is_authenticated:
            return
        key = self.idempotency_key
        if not 0 < len(key) <= MAX_LENGTH or not key.isascii() or not key.isprintable():
            raise InvalidKey(
                _("{header} is not valid: use 1 to {max} ASCII characters.").format(header=HEADER, max=MAX_LENGTH)
            )
        self.fingerprint = _fingerprint(request)
        try:
            transactions.lock_idempotency_key(request.user.pk, key)
        except DatabaseError as error:
            if transactions.sqlstate(error) != transactions.LOCK_NOT_AVAILABLE:
                raise
            raise Busy from error
        stored = find_stored(request.user, key)
        if stored is None:
            return
        if stored.fingerprint != self.fingerprint:
            raise IdempotencyConflict(
                _("This {header} came with another call before: use a new one for another call.").format(header=HEADER)
            )
        raise _Answered(stored)

    def handle_exception(self, exc):
        if isinstance(exc, _Answered):
            stored = exc.stored
            metrics.count_idempotent_replay()
            response = Response(
                stored.body, status=stored.status_code, headers={**stored.headers, "Idempotency-Replayed": "true"}
            )
            response.is_replay = True
            return response
        return super().handle_exception(exc)

    def _store(self, response):
        if not self.request.user.is_authenticated:
            return
        body = getattr(response, "data", None)
        IdempotencyKey.objects.create(
            user=self.request.user,
            key=self.idempotency_key,
            fingerprint=self.fingerprint,
            status_code=response.status_code,
            body=None if body is None else json.loads(json.dumps(body, cls=JSONEncoder)),
            headers={name: response[name] for name in STORED_HEADERS if name in response},
        )


def _fingerprint(request):
    """Return a hash of the method, path, content type and body, which identifies the call."""
    try:
        body = request._request.body
    except RequestDataTooBig:
        raise InvalidKey(_("The body is too large for {header}: send it without.").format(header=HEADER)) from None
    parts = (request.method, request.get_full_path(), request.content_type or "")
    return hashlib.sha256("\0".join(parts).encode() + b"\0" + body).hexdigest()
