from itertools import chain
from urllib.parse import quote

from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import ValidationError
from django.db.models import Case, Exists, OuterRef, Prefetch, When
from django.forms import SelectMultiple
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

from netbox.context import current_request
from netbox.views.generic.base import BaseObjectView
from utilities.exceptions import AbortRequest
from utilities.forms import DeleteForm
from utilities.htmx import htmx_partial
from utilities.jobs import is_background_request
from utilities.permissions import get_permission_for_model
from utilities.querydict import normalize_querydict
from utilities.views import GetReturnURLMixin, ViewTab

from ..choices import SegmentPoolStatusChoices
from ..forms.errors import abort_on_service_errors
from ..models import Allocation, SegmentPool
from ..services.base.refusals import SERVICE_ERRORS, get_error_texts
from ..services.base.visibility import releasable

__all__ = (
    "ChildrenMixin",
    "ChildrenTab",
    "ConfirmView",
    "HoldersMixin",
    "KeepTypedMixin",
    "RefusableBulkDeleteMixin",
    "RefusableDeleteMixin",
    "ResendMixin",
    "ReturnURLMixin",
    "ServiceBulkEditMixin",
    "ServiceImportMixin",
    "ViewableMixin",
    "annotate_may_release",
    "get_selected",
    "is_pk",
    "prefetch_holders",
)

# The most characters of the user's input in the login page's URL. After the login, Django redirects to no URL of more
# than 2,048. uWSGI takes 4,096 for all headers together, and browsers repeat the last URL as the Referer.
TYPED_MAX = 1800


class ReturnURLMixin(GetReturnURLMixin):
    """Makes a bare word as return URL a relative path: NetBox accepts it, and redirect() takes it for a view's name."""

    def get_return_url(self, request, obj=None):
        url = super().get_return_url(request, obj)
        return url if url.startswith(("/", "./", "../")) else f"./{url}"


class HoldersMixin:
    """Reads what the buttons and holders in a table of segments need (see `prefetch_holders`)."""

    def get_queryset(self, request):
        return prefetch_holders(super().get_queryset(request), request.user)


class ViewableMixin:
    """
    Extends a view of selected objects: leaves out the objects that the user may not view.

    The view's table shows every column of an object, and names related objects.
    """

    def get_queryset(self, request):
        return super().get_queryset(request).restrict(request.user, "view")


class KeepTypedMixin:
    """
    Extends a view with a form: if the session has ended when the user sends it, the login leads back to the input.

    The input is part of the login page's URL, as in NetBox's own links to prefilled forms. Input that is too long for a
    URL is shown, to be copied. Nothing is saved before the user sends the form again.

    Place it before the mixin that checks permissions.

    Attributes:
        copied_fields: Names of the fields that the view does not read from its URL; their input is shown, to be copied.
    """

    copied_fields = ()

    def handle_no_permission(self):
        request = self.request
        if request.user.is_authenticated or (request.method != "POST" and not request.htmx):
            return super().handle_no_permission()
        typed, too_long = self._split(self._get_typed())
        login_url = self._get_login_url(typed)
        if too_long and request.htmx:
            # htmx asks for a part of the page only. The form stays in the browser; its input is kept once it is sent.
            return HttpResponse(status=204)
        if too_long:
            fields = [(_label(name), "\n".join(values)) for name, values in too_long.items()]
            context = {
                "fields": fields,
                "login_url": login_url,
                "kept": {
                    "path": request.path,
                    "values": {name: "\n".join(values) for name, values in too_long.items()},
                },
            }
            return render(request, "netbox_vlan_manager/session_ended.html", context, status=403)
        text = _("Your session has ended and nothing was saved. Log in: the form keeps your input.")
        if request.FILES:
            text = _("Your session has ended and nothing was saved. Log in, and choose the file again.")
        messages.warning(request, text)
        return HttpResponse(headers={"HX-Redirect": login_url}) if request.htmx else redirect(login_url)

    def _get_typed(self):
        """Return {input name: values}, with the parameters of the page's URL."""
        typed = {**dict(self.request.GET.lists()), **dict(self.request.POST.lists())}
        if self.request.method == "POST" and (form := getattr(self, "form", None)):
            # Browsers send nothing for an empty selection. Without a value, the form would show the stored selection.
            for name, field in form(instance=self.queryset.model()).fields.items():
                if isinstance(field.widget, SelectMultiple):
                    typed.setdefault(name, [""])
        return {
            # NetBox sends an empty value with every checkbox, checked or not.
            name: [value for value in values if value] or [""]
            for name, values in typed.items()
            # A leading underscore marks a button, or `_init_time`, from which NetBox looks for changes by other users.
            if name == "_init_time" or not (name == "csrfmiddlewaretoken" or name.startswith("_"))
        }

    def _split(self, typed):
        """Split {name: values} into the inputs that fit into a URL and those that do not: the longest."""
        lengths = {name: len(quote(urlencode({name: values}, doseq=True))) for name, values in typed.items()}
        fitting, too_long, room = {}, {}, TYPED_MAX
        for name in sorted(typed, key=lengths.get):
            room -= lengths[name]
            copied = room < 0 or (name in self.copied_fields and any(typed[name]))
            (too_long if copied else fitting)[name] = typed[name]
        return fitting, too_long

    def _get_login_url(self, typed):
        url = f"{self.request.path}?{urlencode(typed, doseq=True)}" if typed else self.request.path
        return redirect_to_login(url, self.get_login_url(), self.get_redirect_field_name()).url


class ResendMixin:
    """
    Extends a view that takes a selection of objects, or a confirmation: if the session has ended when the user sends
    it, they can send it again after the login.

    The view cannot be opened by its URL, and a selection may be too long for one. So the browser keeps the request's
    data (see `views.resend`).

    Place it before the mixin that checks permissions.
    """

    def handle_no_permission(self):
        request = self.request
        if request.user.is_authenticated or request.method != "POST" or request.htmx:
            return super().handle_no_permission()
        sent = {name: values for name, values in request.POST.lists() if name != "csrfmiddlewaretoken"}
        resend_url = reverse("plugins:netbox_vlan_manager:resend")
        context = {
            "fields": [
                (_label(name), "\n".join(values))
                for name, values in sent.items()
                if any(values) and name not in ("pk", "return_url") and not name.startswith("_")
            ],
            "login_url": redirect_to_login(resend_url, self.get_login_url(), self.get_redirect_field_name()).url,
            "resend": {"url": request.get_full_path(), "values": sent},
        }
        return render(request, "netbox_vlan_manager/session_ended.html", context, status=403)


def _label(name):
    """Return a label for an input, made from its name."""
    return name.replace("_", " ").capitalize()


class RefusableDeleteMixin:
    """
    Extends NetBox's ObjectDeleteView: says why an object cannot be deleted, and what to do.

    NetBox would list every dependent object, including those that the user may not view.
    """

    def get_refusal(self, queryset):
        """Return why the objects of `queryset` cannot be deleted, or None."""
        raise NotImplementedError

    def get(self, request, *args, **kwargs):
        return self._refuse(request, **kwargs) or super().get(request, *args, **kwargs)

    def post(self, request, *args, **kwargs):
        return self._refuse(request, **kwargs) or super().post(request, *args, **kwargs)

    def _refuse(self, request, pk):
        instance = self.get_object(pk=pk)
        if not (refusal := self.get_refusal(self.queryset.filter(pk=pk))):
            return None
        messages.error(request, refusal)
        if request.htmx:
            return HttpResponse(headers={"HX-Redirect": instance.get_absolute_url()})
        return redirect(instance.get_absolute_url())


class RefusableBulkDeleteMixin:
    """
    Extends NetBox's BulkDeleteView: says why objects cannot be deleted, before it asks for a confirmation.

    The page lists and selects only objects that the user may view. As in NetBox, a confirmed deletion by ids needs the
    permission to delete only.
    """

    def post(self, request, **kwargs):
        if is_background_request(request):
            return super().post(request, **kwargs)
        selected = get_selected(request, self.queryset, self.filterset)
        if "_confirm" not in request.POST or "_all" in request.POST:
            selected = selected.restrict(request.user, "view")
        table = self.table
        self.table = lambda queryset, **options: table(queryset.restrict(request.user, "view"), **options)
        if refusal := self.get_refusal(selected):
            messages.error(request, refusal)
            return redirect(self.get_return_url(request))
        # By id: for "all", NetBox's form would take the ids of all objects, including hidden ones.
        request.POST = request.POST.copy()
        request.POST.pop("_all", None)
        request.POST.setlist("pk", [str(pk) for pk in selected.order_by().values_list("pk", flat=True)])
        return super().post(request, **kwargs)


class ServiceBulkEditMixin:
    """Extends NetBox's BulkEditView: saves through a service, which checks the same rules as for forms and REST."""

    def lock(self, instances):
        """Take the locks that changing these objects needs, in the common lock order."""
        raise NotImplementedError

    def update_by_service(self, instance, **values):
        """Set the values on `instance` through the service, and return the updated object."""
        raise NotImplementedError

    def _update_objects(self, form, request):
        instances = list(self.queryset.filter(pk__in=form.cleaned_data["pk"]))
        try:
            with abort_on_service_errors(form):
                self.lock(instances)
                return [self._update_object(form, instance) for instance in instances]
        except AbortRequest:
            if is_background_request(request):
                for text in chain.from_iterable(form.errors.values()):
                    request.job.logger.error(text)
            raise

    def _update_object(self, form, instance):
        values = self._get_values(form, instance)
        values["changelog_message"] = form.cleaned_data.get("changelog_message") or ""
        try:
            updated = self.update_by_service(instance, **values)
        except ValidationError as error:
            # Name the object that has the error.
            errors = ValidationError(error.update_error_dict({})).message_dict
            raise ValidationError(
                {name: [f"{instance}: {text}" for text in texts] for name, texts in errors.items()}
            ) from error
        self.post_save_operations(form, updated)
        return updated

    def _get_values(self, form, instance):
        """Return {field name: value} of the fields that the form changes and the service takes."""
        nullified = set(self.request.POST.getlist("_nullify")).intersection(form.nullable_fields)
        names = {field.name for field in instance._meta.concrete_fields}
        values, custom = {}, dict(instance.custom_field_data)
        for name in form.fields:
            if name in nullified:
                value = None
            elif name in form.changed_data:
                value = form.cleaned_data[name]
            else:
                continue
            if name in form.custom_fields:
                custom[name.removeprefix("cf_")] = form.custom_fields[name].serialize(value)
            elif name in names:
                is_text = value is None and not instance._meta.get_field(name).null
                values[name] = "" if is_text else value
        return {**values, "custom_field_data": custom}


class ServiceImportMixin(KeepTypedMixin):
    """Extends NetBox's BulkImportView: reports a service's errors with the record's number and the column."""

    copied_fields = ("data",)

    def _save_object(self, model_form, request, parent_idx):
        try:
            return super()._save_object(model_form, request, parent_idx)
        except AbortRequest:
            if model_form.errors:
                raise ValidationError(self._compile_form_errors(model_form.errors, index=parent_idx)) from None
            raise


class ChildrenTab(ViewTab):
    """A tab with the children of an object that the user may view, and their number."""

    def __init__(self, label, model, parent, weight):
        """Take the model of the children, and the name of its foreign key to the object."""
        super().__init__(label, badge=self.count, weight=weight, permission=get_permission_for_model(model, "view"))
        self.model = model
        self.parent = parent

    def get_counted(self, instance):
        # NetBox passes the object to a badge, but not the user.
        children = self.model.objects.restrict(current_request.get().user, "view")
        return children.filter(**{self.parent: instance})

    def count(self, instance):
        return self.get_counted(instance).count()


class ChildrenMixin:
    """
    Extends NetBox's ObjectChildrenView: the page needs the permission to view the children, and the object's buttons
    check the permission on the object, not on its children.
    """

    @property
    def additional_permissions(self):
        return (self.tab.permission,)

    def get_object(self, **kwargs):
        self.instance = super().get_object(**kwargs)
        return self.instance

    def get_permitted_actions(self, user, model=None):
        of_object = super().get_permitted_actions(user, self.instance)
        of_children = super().get_permitted_actions(user, model)
        return [action for action in self.actions if action in (of_children if action.multi else of_object)]


def is_pk(text):
    """Return whether a text is a number that an id can have. int() refuses numbers of thousands of digits."""
    return text.isdecimal() and len(text) < 19


def get_selected(request, queryset, filterset):
    """Return the objects of `queryset` that are selected in a table, or all that match the table's filters."""
    if request.POST.get("_all"):
        return filterset(request.GET, queryset, request=request).qs
    return queryset.filter(pk__in=[pk for pk in request.POST.getlist("pk") if is_pk(pk)])


def prefetch_holders(segments, user):
    """
    Prefetch `active_allocations` of segments, those that `user` may view, with `may_release`, in one query.

    The segments are annotated with `may_allocate`: whether their pool makes allocations, and `user` may make them.
    """
    allocations = annotate_may_release(Allocation.objects.restrict(user, "view").active(), user)
    pools = SegmentPool.objects.restrict(user, "allocate").filter(status=SegmentPoolStatusChoices.ACTIVE)
    segments = segments.annotate(may_allocate=Exists(pools.filter(pk=OuterRef("pool")).order_by()))
    return segments.prefetch_related(Prefetch("allocations", queryset=allocations))


def annotate_may_release(allocations, user):
    """Annotate allocations with `may_release`: whether `user` may release them."""
    return allocations.annotate(may_release=Case(When(releasable(user), then=True), default=False))


class ConfirmView(KeepTypedMixin, ReturnURLMixin, BaseObjectView):
    """Changes one object, after a confirmation on a page, or in a dialog for htmx."""

    template_name = "netbox_vlan_manager/confirm.html"
    htmx_template_name = ""
    form = DeleteForm
    title = ""

    def change(self, instance, form):
        """Apply the confirmed change and tell the user."""
        raise NotImplementedError

    def get_initial(self, instance):
        return normalize_querydict(self.request.GET)

    def get(self, request, **kwargs):
        instance = self.get_object(**kwargs)
        return self.render(instance, self.form(instance=instance, initial=self.get_initial(instance)))

    def post(self, request, **kwargs):
        instance = self.get_object(**kwargs)
        form = self.form(request.POST, instance=instance)
        if not form.is_valid():
            return self.render(instance, form)
        try:
            self.change(instance, form)
        except SERVICE_ERRORS as error:
            return self.refuse(instance, form, error)
        return redirect(self.get_return_url(request, instance))

    def refuse(self, instance, form, error):
        """Return the response to an error of a service."""
        messages.error(self.request, " ".join(get_error_texts(error, self.request.user)))
        return redirect(self.get_return_url(self.request, instance))

    def render(self, instance, form):
        context = {"object": instance, "form": form, "form_url": self.request.path}
        if htmx_partial(self.request):
            return render(self.request, self.htmx_template_name, context)
        context |= {
            "title": self.title,
            "form_template": self.htmx_template_name,
            "return_url": self.get_return_url(self.request, instance),
        }
        return render(self.request, self.template_name, context)
