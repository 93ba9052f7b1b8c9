from django.contrib.auth.mixins import LoginRequiredMixin
from django.views.generic import TemplateView

__all__ = ("ResendView",)


class ResendView(LoginRequiredMixin, TemplateView):
    """
    Offers to send a request again that came after the session had ended (see `mixins.ResendMixin`). Only the browser
    keeps its data.
    """

    template_name = "netbox_vlan_manager/resend.html"
