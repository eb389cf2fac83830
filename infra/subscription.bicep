// The resources in each subscription whose VMs are onboarded: the app's role there, and the events.
// Deployed by scripts/subscribe after the code, since Event Grid refuses a function that does not exist yet. System topics
// have to be in the subscription whose events they have, so they get a resource group there.
targetScope = 'subscription'

@description('Resource group for the system topics; created here.')
param groupName string

@description('Region of that resource group. The topics themselves are global.')
param location string

@description('The function app, from main.bicep.')
param functionAppId string

@description('The principal of the app\'s identity, from main.bicep.')
param appPrincipalId string

@description('The identity with which Event Grid stores undeliverable events, from main.bicep.')
param eventsIdentityId string

@description('The storage account with the container for undeliverable events, from main.bicep.')
param storageAccountId string

@description('Onboard only the VMs of these resource groups: names with commas between, 19 at most. Empty: all.')
param resourceGroups string = ''

@description('Also send Azure Policy\'s findings to the app.')
param policyStates bool = false

@description('GUID of the role that the app gets: Virtual Machine Contributor, or a narrower custom role.')
param roleId string = '9980e02c-c2be-4d73-94e8-173b1dc7cf3c'

@description('Also let the app associate VMs with data collection rules: policies with dataCollectionRules need it.')
param associations bool = false

@description('Also let the app add identities to VMs: policies with identity need it. It takes the right to write whole VMs.')
param identities bool = false

@description('Also let the app remove extensions: policies with removeIfExists need it beside a custom role without that right.')
param removals bool = false

var groups = empty(resourceGroups) ? [] : split(resourceGroups, ',')
var associationGroups = associations ? groups : []
var identityGroups = identities ? groups : []
var removalGroups = removals ? groups : []

// Event Grid compares without case. All filters of a list have to match, and together they may have 25 values.
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

// The rule, the endpoint or the identity may be elsewhere: docs/deploying.md says what the app needs there.
resource associationRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (associations) {
  name: guid(subscription().id, appPrincipalId, 'associations')
  properties: {
    roleName: 'VM Onboarding Associations ${uniqueString(subscription().id, appPrincipalId)}'
    description: 'Associates virtual machines with data collection rules and endpoints.'
    type: 'CustomRole'
    assignableScopes: [subscription().id]
    permissions: [
      {
        actions: [
          'Microsoft.Insights/dataCollectionRuleAssociations/read'
          'Microsoft.Insights/dataCollectionRuleAssociations/write'
          'Microsoft.Insights/dataCollectionRules/read'
          'Microsoft.Insights/dataCollectionEndpoints/read'
        ]
      }
    ]
  }
}

resource identityRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (identities) {
  name: guid(subscription().id, appPrincipalId, 'identities')
  properties: {
    roleName: 'VM Onboarding Identities ${uniqueString(subscription().id, appPrincipalId)}'
    description: 'Adds managed identities to virtual machines.'
    type: 'CustomRole'
    assignableScopes: [subscription().id]
    permissions: [
      {
        actions: [
          'Microsoft.Compute/virtualMachines/write'
          'Microsoft.ManagedIdentity/userAssignedIdentities/assign/action'
        ]
      }
    ]
  }
}

resource removalRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (removals) {
  name: guid(subscription().id, appPrincipalId, 'removals')
  properties: {
    roleName: 'VM Onboarding Removals ${uniqueString(subscription().id, appPrincipalId)}'
    description: 'Removes extensions from virtual machines.'
    type: 'CustomRole'
    assignableScopes: [subscription().id]
    permissions: [
      {
        actions: [
          'Microsoft.Compute/virtualMachines/extensions/delete'
        ]
      }
    ]
  }
}

resource associationAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (associations && empty(groups)) {
  name: guid(subscription().id, appPrincipalId, 'associations', 'assignment')
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: associationRole.id
  }
}

resource identityAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (identities && empty(groups)) {
  name: guid(subscription().id, appPrincipalId, 'identities', 'assignment')
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: identityRole.id
  }
}

resource removalAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (removals && empty(groups)) {
  name: guid(subscription().id, appPrincipalId, 'removals', 'assignment')
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: removalRole.id
  }
}

module groupAssociations 'modules/group-access.bicep' = [for name in associationGroups: {
  name: 'vm-associations-${uniqueString(name)}'
  scope: resourceGroup(name)
  params: {
    principalId: appPrincipalId
    roleId: associationRole.name
  }
}]

module groupIdentities 'modules/group-access.bicep' = [for name in identityGroups: {
  name: 'vm-identities-${uniqueString(name)}'
  scope: resourceGroup(name)
  params: {
    principalId: appPrincipalId
    roleId: identityRole.name
  }
}]

module groupRemovals 'modules/group-access.bicep' = [for name in removalGroups: {
  name: 'vm-removals-${uniqueString(name)}'
  scope: resourceGroup(name)
  params: {
    principalId: appPrincipalId
    roleId: removalRole.name
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
          'Microsoft.Insights/dataCollectionRuleAssociations/delete'
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
