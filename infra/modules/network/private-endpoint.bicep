// A private endpoint of one service of one resource, and its name in the private zone.
import { tags as tagsType } from '../../types.bicep'

param name string
param location string
param tags tagsType
param subnetId string
param resourceId string

@description('The service of the resource: blob, queue, table, vault, sites, topic.')
param service string

@description('The zone that the name is written to. Empty: a policy of the platform team does it.')
param zoneId string

resource endpoint 'Microsoft.Network/privateEndpoints@2025-01-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    subnet: { id: subnetId }
    privateLinkServiceConnections: [
      {
        name: service
        properties: {
          privateLinkServiceId: resourceId
          groupIds: [service]
        }
      }
    ]
  }
}

resource zone 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2025-01-01' = if (!empty(zoneId)) {
  parent: endpoint
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: service
        properties: { privateDnsZoneId: zoneId }
      }
    ]
  }
}
