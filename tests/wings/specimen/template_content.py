from netbox.plugins import PluginTemplateExtension


class SpecimenPanel(PluginTemplateExtension):
    models = ["netbox_vlan_manager.segment"]

    def right_page(self):
        return "<p>Specimen panel</p>"


template_extensions = [SpecimenPanel]
