from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import DomainNameValidator, MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from ..choices import GatewayRuleChoices
from ..gateways import find_gateway

__all__ = ("AddressingMixin",)

# A resolver asks only the first few servers.
DNS_SERVERS_MAX = 8
# Hosts accept IPv4 packets of 576 bytes (RFC 791, 3.1), and its length field has 16 bits, as has that of DHCP's option.
MTU_MIN, MTU_MAX = 576, 65535


class AddressingMixin(models.Model):
    """What a pool says about the hosts on its segments: their gateway, DNS servers, domain and MTU."""

    gateway_rule = models.CharField(
        verbose_name=_("gateway"),
        max_length=50,
        choices=GatewayRuleChoices,
        default=GatewayRuleChoices.NONE,
        help_text=_("Which address of its prefix, and of its IPv6 prefix, is the gateway of a new segment"),
    )
    gateway_offset = models.PositiveIntegerField(
        verbose_name=_("gateway number"),
        blank=True,
        null=True,
        validators=(MinValueValidator(1),),
        help_text=_("For the nth address: 1 is the first usable one; a smaller network has no gateway"),
    )
    create_gateways = models.BooleanField(
        verbose_name=_("create gateways"),
        default=False,
        help_text=_("Make the gateway of a new segment as an IP address in NetBox; it goes with the segment"),
    )
    dns_servers = ArrayField(
        base_field=models.GenericIPAddressField(),
        size=DNS_SERVERS_MAX,
        verbose_name=_("DNS servers"),
        default=list,
        blank=True,
        help_text=_("IP addresses of the DNS servers of hosts on the segments, in their order"),
    )
    domain_name = models.CharField(
        verbose_name=_("domain name"),
        max_length=253,
        blank=True,
        validators=(DomainNameValidator(accept_idna=False),),
        help_text=_("The DNS domain of hosts on the segments, such as site1.example.com"),
    )
    mtu = models.PositiveIntegerField(
        verbose_name=_("MTU"),
        blank=True,
        null=True,
        validators=(MinValueValidator(MTU_MIN), MaxValueValidator(MTU_MAX)),
        help_text=_("The MTU of hosts on the segments, 576 to 65535; with IPv6 from 1280"),
    )

    class Meta:
        abstract = True

    def clean(self):
        super().clean()

        if self.gateway_rule == GatewayRuleChoices.NTH and not self.gateway_offset:
            raise ValidationError({"gateway_offset": _("Give the number of the address, such as 10.")})
        if self.gateway_rule != GatewayRuleChoices.NTH and self.gateway_offset:
            raise ValidationError({"gateway_offset": _("Only the nth address has a number: leave this empty.")})

    @property
    def dns_servers_list(self):
        """Return the DNS servers as text."""
        return ", ".join(self.dns_servers)

    def find_gateway(self, network):
        """Return the gateway of a network by the pool's rule, as text, or None."""
        return find_gateway(network, self.gateway_rule, self.gateway_offset)
