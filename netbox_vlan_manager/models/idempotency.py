from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

__all__ = ("IdempotencyKey",)


class IdempotencyKey(models.Model):
    """
    The answer to a writing call with an Idempotency-Key, stored so that a repeated call gets it again.

    It belongs to the API, users do not work with it: it has no page, no change log and no permissions.
    """

    user = models.ForeignKey(
        to=settings.AUTH_USER_MODEL,
        # PostgreSQL deletes the keys: with Django's CASCADE, the page that confirms a user's deletion would list them.
        on_delete=models.DB_CASCADE,
        related_name="+",
        verbose_name=_("user"),
    )
    key = models.CharField(verbose_name=_("key"), max_length=255)
    fingerprint = models.CharField(
        verbose_name=_("fingerprint"),
        max_length=64,
        help_text=_("SHA-256 of the call: method, path, query and body"),
    )
    status_code = models.PositiveSmallIntegerField(verbose_name=_("status code"))
    body = models.JSONField(verbose_name=_("body"), null=True)
    headers = models.JSONField(verbose_name=_("headers"), default=dict)
    created = models.DateTimeField(verbose_name=_("created"), auto_now_add=True, db_index=True)

    # Hides the model where NetBox offers object types, such as in permissions.
    _netbox_private = True

    class Meta:
        ordering = ("pk",)
        verbose_name = _("idempotency key")
        verbose_name_plural = _("idempotency keys")
        constraints = (models.UniqueConstraint(fields=("user", "key"), name="%(app_label)s_%(class)s_unique_user_key"),)

    def __str__(self):
        return self.key
