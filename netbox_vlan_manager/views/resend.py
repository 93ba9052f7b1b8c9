from django.contrib.auth.mixins import LoginRequiredMixin
from django.views.generic import TemplateView

__all__ = ("ResendView",)


class ResendView(LoginRequiredMixin, TemplateView):
    """
    Offers to send again what was sent when the session had ended (see `mixins.ResendMixin`). Only the browser has it.
    """

    template_name = "netbox_vlan_manager/resend.html"
