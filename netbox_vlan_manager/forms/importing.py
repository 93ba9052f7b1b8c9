from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.forms.mixins import SyncedDataMixin
from netbox.choices import ImportMethodChoices
from utilities.forms.utils import restrict_form_fields

from ..models import SegmentPool
from ..services.base.sheets import LEFT_OUT, MAX_SIZE, UnknownHeadings
from ..services.onboarding.import_files import read_file, rename_columns, suggest_columns
from ..services.segments.segment_columns import COLUMNS

__all__ = ("ImportSourceForm",)


class ImportSourceForm(SyncedDataMixin, forms.Form):
    """
    Takes the rows of an import: as text, from a file, or from a data file that NetBox has synchronized.

    Its cleaned data have the rows as `rows` (see `parse_file`), and their text as `data`, which is CSV for a workbook.

    If a sheet has unknown headings, `headings` are the form's Suggestions for them, and `text` is the sheet as CSV. The
    fields column_0, column_1 and so on of the next submission say which column is which.
    """

    import_method = forms.ChoiceField(
        choices=ImportMethodChoices,
        widget=forms.HiddenInput,
    )
    data = forms.CharField(
        label=gettext_lazy("Data"),
        required=False,
        # Line numbers in errors count leading empty lines.
        strip=False,
        widget=forms.Textarea(attrs={"class": "font-monospace", "rows": 12, "wrap": "off", "spellcheck": "false"}),
        help_text=gettext_lazy(
            "CSV with a header line, as below, with commas, semicolons or tabs between the values; or JSON or YAML, a "
            "list with an object for each segment."
        ),
    )
    upload_file = forms.FileField(
        label=gettext_lazy("File"),
        required=False,
        widget=forms.FileInput(attrs={"accept": ".csv,.txt,.xlsx,.json,.yaml,.yml"}),
        help_text=gettext_lazy("CSV in UTF-8, XLSX, JSON or YAML; of a workbook, the first sheet"),
    )
    atomic = forms.BooleanField(
        label=gettext_lazy("All or nothing"),
        required=False,
        help_text=gettext_lazy("Import nothing if any row fails"),
    )

    pool = forms.ModelChoiceField(
        queryset=SegmentPool.objects.all(),
        required=False,
        widget=forms.HiddenInput,
    )

    source_fields = {
        ImportMethodChoices.DIRECT: "data",
        ImportMethodChoices.UPLOAD: "upload_file",
        ImportMethodChoices.DATA_FILE: "data_file",
    }

    def __init__(self, data=None, files=None, *, user, method=ImportMethodChoices.DIRECT, **kwargs):
        if data and files and data.get("import_method") == ImportMethodChoices.DIRECT and "upload_file" in files:
            # The page sends text as a file if it is longer than Django accepts in a field.
            data = data.copy()
            data["data"] = files["upload_file"].read().decode(errors="replace")
        # The page has one form for each method: their ids must differ.
        super().__init__(data, files, auto_id=f"id_{method}_%s", **kwargs)
        self.initial.setdefault("import_method", method)
        self.method = method
        self.headings, self.text = [], ""
        restrict_form_fields(self, user)

    def clean(self):
        super().clean()
        name = self.source_fields.get(self.cleaned_data.get("import_method"))
        if name is None or name in self.errors:
            return
        try:
            self.cleaned_data["rows"], text = self._read(name)
        except UnknownHeadings as error:
            self.add_error(name, error.messages)
            self.headings, self.text = suggest_columns(error), error.text
        except ValidationError as error:
            self.add_error(name, error.messages)
        else:
            self.cleaned_data["data"] = text

    def _read(self, name):
        """Return the rows in the field `name`, and their text."""
        source = self.cleaned_data[name]
        if source is None:
            raise ValidationError(_("Choose a file."))
        size = len(source) if name == "data" else source.size
        if size > MAX_SIZE:
            text = _("{size} MB are too much for one import: give at most {most} MB.")
            raise ValidationError(text.format(size=size // 10**6, most=MAX_SIZE // 10**6))
        # A pool that the user may not view is an error of its own.
        pool = getattr(self.cleaned_data.get("pool"), "slug", None)
        if name == "data":
            source = self._rename_columns(source)
            rows, _text = read_file(source, pool=pool)
            return rows, source
        if name == "upload_file":
            return read_file(source.read(), source.name, pool)
        return read_file(bytes(source.data), source.path, pool)

    def _rename_columns(self, text):
        """Return the text with the column names that the user chose for its headings, if any."""
        names = []
        while (name := self.data.get(f"column_{len(names)}")) is not None:
            names.append(name if name in COLUMNS else LEFT_OUT)
        return rename_columns(text, names) if names else text
