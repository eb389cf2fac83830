// The network of the profile private: a subnet that the app sends from, a subnet for private endpoints, and the rules for what
// leaves. Not used where both subnets are given.
import { tags as tagsType } from '../../types.bicep'

param name string
param location string
param tags tagsType

@description('A /26 or larger: the first /27 is the app\'s, the second that of the private endpoints.')
param addressPrefix string

@description('Refuse what the app sends to the internet, but for the services that it needs.')
param denyInternet bool

var needed = {
  resourceManager: 'AzureResourceManager'
  signIn: 'AzureActiveDirectory'
  telemetry: 'AzureMonitor'
  // The host loads its extension bundle from there if its image has none.
  bundles: 'AzureFrontDoor.FirstParty'
}
var allowed = map(range(0, length(items(needed))), index => {
  name: items(needed)[index].key
  properties: {
    direction: 'Outbound'
    access: 'Allow'
    priority: 100 + index
    protocol: 'Tcp'
    sourceAddressPrefix: '*'
    sourcePortRange: '*'
    destinationAddressPrefix: items(needed)[index].value
    destinationPortRange: '443'
  }
})
var refused = {
  name: 'internet'
  properties: {
    direction: 'Outbound'
    access: 'Deny'
    priority: 4000
    protocol: '*'
    sourceAddressPrefix: '*'
    sourcePortRange: '*'
    destinationAddressPrefix: 'Internet'
    destinationPortRange: '*'
  }
}

resource rules 'Microsoft.Network/networkSecurityGroups@2025-01-01' = {
  name: 'nsg-${name}'
  location: location
  tags: tags
  properties: { securityRules: denyInternet ? concat(allowed, [refused]) : allowed }
}

resource network 'Microsoft.Network/virtualNetworks@2025-01-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: [addressPrefix] }
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 27, 0)
          networkSecurityGroup: { id: rules.id }
          delegations: [
            {
              name: 'flex'
              properties: { serviceName: 'Microsoft.App/environments' }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: cidrSubnet(addressPrefix, 27, 1)
          networkSecurityGroup: { id: rules.id }
        }
      }
    ]
  }
}

output id string = network.id
output appSubnetId string = resourceId('Microsoft.Network/virtualNetworks/subnets', network.name, 'app')
output endpointSubnetId string = resourceId('Microsoft.Network/virtualNetworks/subnets', network.name, 'endpoints')
