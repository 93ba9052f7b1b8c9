# One network for each cluster: created is allocated, destroyed is released.
#
#   export TF_VAR_netbox_url=https://netbox.example.com TF_VAR_netbox_token=nbt_…
#   terraform apply
#
# What a cluster holds already becomes Terraform's by applying: NetBox answers with the allocation that is there. To import
# one by its id:
#
#   terraform import 'restapi_object.network["prod-01"]' /api/plugins/vlan-manager/allocations/19

terraform {
  required_providers {
    restapi = {
      source  = "Mastercard/restapi"
      version = "~> 2.0"
    }
  }
}

variable "netbox_url" {
  type = string
}

variable "netbox_token" {
  type      = string
  sensitive = true
}

variable "clusters" {
  type = map(object({ site = string, vrf = string }))
  default = {
    "prod-01" = { site = "Site1", vrf = "Network1" }
  }
}

provider "restapi" {
  uri                  = var.netbox_url
  write_returns_object = true
  headers = {
    Authorization = "Bearer ${var.netbox_token}"
    Content-Type  = "application/json"
  }
}

locals {
  allocations = "/api/plugins/vlan-manager/allocations"
}

resource "restapi_object" "network" {
  for_each = var.clusters

  path         = local.allocations
  create_path  = "${local.allocations}/"
  id_attribute = "id"

  # A released allocation stays as history. Filtered out it answers 404, and the next apply allocates anew.
  read_path    = "${local.allocations}/{id}/?status=active"
  update_path  = "${local.allocations}/{id}/"
  destroy_path = "${local.allocations}/{id}/"

  data = jsonencode({
    cluster_name = each.key
    site         = each.value.site
    vrf          = each.value.vrf
  })

  # An allocation keeps what it was asked for: another site is another allocation.
  force_new = [each.key, each.value.site, each.value.vrf]

  # NetBox answers with more than was asked.
  ignore_all_server_changes = true
}

output "networks" {
  value = {
    for name, network in restapi_object.network : name => {
      vlan   = jsondecode(network.api_response).vid
      prefix = jsondecode(network.api_response).prefix
      epg    = jsondecode(network.api_response).epg_name
    }
  }
}
