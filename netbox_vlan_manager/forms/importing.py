from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from core.forms.mixins import SyncedDataMixin
from netbox.choices import ImportMethodChoices
from utilities.forms.utils import restrict_form_fields

from ..services.base.sheets import MAX_SIZE
from ..services.onboarding.import_files import read_file

__all__ = ("ImportSourceForm",)


class ImportSourceForm(SyncedDataMixin, forms.Form):
    """
    Takes the rows of an import: as text, from a file, or from a data file that NetBox has synchronized.

    Its cleaned data have the rows as `rows` (see `parse_file`), and their text as `data`, which is CSV for a workbook.
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
        restrict_form_fields(self, user)

    def clean(self):
        super().clean()
        name = self.source_fields.get(self.cleaned_data.get("import_method"))
        if name is None or name in self.errors:
            return
        try:
            self.cleaned_data["rows"], text = self._read(name)
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
        if name == "data":
            rows, _text = read_file(source)
            return rows, source
        if name == "upload_file":
            return read_file(source.read(), source.name)
        return read_file(bytes(source.data), source.path)
