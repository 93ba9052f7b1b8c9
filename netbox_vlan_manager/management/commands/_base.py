from contextlib import contextmanager

from django.core.exceptions import PermissionDenied, ValidationError
from django.core.management.base import BaseCommand, CommandError

from ...exceptions import VLANManagerError


class ServiceCommand(BaseCommand):
    """A command that calls a service as the user of `--user`, and prints each error in one line."""

    def add_arguments(self, parser):
        parser.add_argument("--user", required=True, help="The user whom the change log names")

    @contextmanager
    def service_errors(self):
        """Turn the exceptions of a service into a CommandError, which Django prints without a traceback."""
        try:
            yield
        except ValidationError as error:
            raise CommandError("\n".join(describe_errors(error))) from error
        except (VLANManagerError, PermissionDenied) as error:
            raise CommandError(str(error)) from error


class ClusterCommand(ServiceCommand):
    """A command about one cluster in one pool."""

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("cluster_name", help="Name of the cluster; its case does not matter")
        parser.add_argument("--site", required=True, help="Id, slug or name of a site, site group, location or region")
        parser.add_argument("--vrf", required=True, help="Id, name or RD of the VRF")
        parser.add_argument("--purpose", default="", help="Tells several segments of one cluster in a pool apart")


def describe_errors(error):
    """Return the lines of a ValidationError: "field: text" if it has fields, else the texts."""
    if not hasattr(error, "error_dict"):
        return error.messages
    return [f"{field}: {text}" for field, texts in error.message_dict.items() for text in texts]
