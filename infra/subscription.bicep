// What one subscription needs for its VMs to be onboarded: the app's right to them, and the events that tell of them.
// Deployed by scripts/subscribe after the code, since Event Grid refuses a function that is not there yet. Its system
// topics have to be in the subscription whose events they hold, so they get a resource group there.
targetScope = 'subscription'

@description('Resource group for the system topics; made here.')
param groupName string

@description('Region of that resource group. The topics themselves are global.')
param location string

@description('The function app, from main.bicep.')
param functionAppId string

@description('The principal of the app\'s identity, from main.bicep.')
param appPrincipalId string

@description('The identity that Event Grid stores undeliverable events with, from main.bicep.')
param eventsIdentityId string

@description('The storage account that has the container for them, from main.bicep.')
param storageAccountId string

@description('Onboard the VMs of these resource groups alone: names with commas between, 20 at most. Empty: all.')
param resourceGroups string = ''

@description('Let Azure Policy\'s findings reach the app too.')
param policyStates bool = false

@description('GUID of the role that the app gets: Virtual Machine Contributor, or a narrower one of your own.')
param roleId string = '9980e02c-c2be-4d73-94e8-173b1dc7cf3c'

var groups = empty(resourceGroups) ? [] : split(resourceGroups, ',')

// Event Grid compares without regard to case. All filters of a list have to match.
var inGroups = empty(groups) ? [] : [
  {
    operatorType: 'StringBeginsWith'
    key: 'subject'
    values: map(groups, name => '${subscription().id}/resourceGroups/${name}/')
  }
]

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: groupName
  location: location
}

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (empty(groups)) {
  name: guid(subscription().id, appPrincipalId, roleId)
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleId)
  }
}

module groupAccess 'modules/group-access.bicep' = [for name in groups: {
  name: 'vm-onboarding-${uniqueString(name)}'
  scope: resourceGroup(name)
  params: {
    principalId: appPrincipalId
    roleId: roleId
  }
}]

module machines 'modules/events.bicep' = {
  name: 'machines'
  scope: group
  params: {
    name: 'vm-onboarding'
    topicType: 'Microsoft.Resources.Subscriptions'
    eventTypes: [
      'Microsoft.Resources.ResourceWriteSuccess'
      'Microsoft.Resources.ResourceWriteFailure'
      'Microsoft.Resources.ResourceWriteCancel'
      'Microsoft.Resources.ResourceDeleteSuccess'
      'Microsoft.Resources.ResourceActionSuccess'
    ]
    advancedFilters: concat([
      {
        operatorType: 'StringIn'
        key: 'data.operationName'
        values: [
          'Microsoft.Compute/virtualMachines/write'
          'Microsoft.Compute/virtualMachines/delete'
          'Microsoft.Compute/virtualMachines/start/action'
          'Microsoft.Compute/virtualMachines/extensions/write'
          'Microsoft.Compute/virtualMachines/extensions/delete'
        ]
      }
    ], inGroups)
    functionAppId: functionAppId
    identityId: eventsIdentityId
    storageAccountId: storageAccountId
  }
}

module findings 'modules/events.bicep' = if (policyStates) {
  name: 'findings'
  scope: group
  params: {
    name: 'vm-onboarding-policy'
    topicType: 'Microsoft.PolicyInsights.PolicyStates'
    eventTypes: [
      'Microsoft.PolicyInsights.PolicyStateCreated'
      'Microsoft.PolicyInsights.PolicyStateChanged'
    ]
    advancedFilters: concat([
      {
        operatorType: 'StringContains'
        key: 'subject'
        values: ['/providers/Microsoft.Compute/virtualMachines/']
      }
      {
        operatorType: 'StringIn'
        key: 'data.complianceState'
        values: ['NonCompliant']
      }
    ], inGroups)
    functionAppId: functionAppId
    identityId: eventsIdentityId
    storageAccountId: storageAccountId
  }
}
