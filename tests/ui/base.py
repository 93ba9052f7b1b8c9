from pathlib import Path
from unittest.mock import patch

from core.models import ObjectChange
from utilities.testing import query_counts

__all__ = ("PluginViewMixin",)


class PluginViewMixin:
    """Lets NetBox's view tests find the plugin's URLs, and the query counts next to the tests."""

    def _get_base_url(self):
        return f"plugins:{self.model._meta.app_label}:{self.model._meta.model_name}_{{}}"

    def setUp(self):
        super().setUp()
        path = Path(__file__).parent / query_counts.BASELINE_FILENAME
        self.enterContext(patch.object(query_counts, "_baseline_path", lambda app_label: path))
        self.enterContext(patch.object(query_counts, "_loaded_baselines", {}))
        # NetBox's tests expect only the changes of the request, but the services also log those of the test data.
        ObjectChange.objects.all().delete()
