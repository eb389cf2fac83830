// The profile private: every service of the app has an address in the network, and a name that leads there.
import { tags as tagsType } from '../../types.bicep'

param token string
param location string
param tags tagsType
param subnetId string

@description('Empty where the network is not ours: the zones are then those of zonesGroupId, or none.')
param networkId string

@description('The resource group with the private DNS zones of the company. Empty: they are made here, or a policy writes names.')
param zonesGroupId string

param storageId string
param vaultId string
param topicId string
param appId string

var zones = {
  blob: 'privatelink.blob.${environment().suffixes.storage}'
  queue: 'privatelink.queue.${environment().suffixes.storage}'
  table: 'privatelink.table.${environment().suffixes.storage}'
  vault: environment().name == 'AzureCloud'
    ? 'privatelink.vaultcore.azure.net'
    : 'privatelink${replace(environment().suffixes.keyvaultDns, '.vault.', '.vaultcore.')}'
  sites: environment().name == 'AzureCloud'
    ? 'privatelink.azurewebsites.net'
    : (environment().name == 'AzureUSGovernment' ? 'privatelink.azurewebsites.us' : 'privatelink.chinacloudsites.cn')
  topic: environment().name == 'AzureCloud'
    ? 'privatelink.eventgrid.azure.net'
    : (environment().name == 'AzureUSGovernment' ? 'privatelink.eventgrid.azure.us' : 'privatelink.eventgrid.azure.cn')
}
var services = concat(
  [
    { name: 'blob', resource: storageId }
    { name: 'queue', resource: storageId }
    { name: 'table', resource: storageId }
    { name: 'sites', resource: appId }
  ],
  empty(vaultId) ? [] : [{ name: 'vault', resource: vaultId }],
  empty(topicId) ? [] : [{ name: 'topic', resource: topicId }]
)
var ours = !empty(networkId) && empty(zonesGroupId)

module zone 'private-zone.bicep' = [
  for service in services: if (ours) {
    name: 'zone-${service.name}'
    params: {
      name: zones[service.name]
      tags: tags
      networkId: networkId
    }
  }
]

module endpoint 'private-endpoint.bicep' = [
  for (service, index) in services: {
    name: 'endpoint-${service.name}'
    params: {
      name: 'pep-${service.name}-${token}'
      location: location
      tags: tags
      subnetId: subnetId
      resourceId: service.resource
      service: service.name
      zoneId: ours
        ? zone[index]!.outputs.id
        : (empty(zonesGroupId)
            ? ''
            : '${zonesGroupId}/providers/Microsoft.Network/privateDnsZones/${zones[service.name]}')
    }
  }
]
