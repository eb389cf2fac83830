// The resources in each subscription whose VMs are onboarded: the app's roles there, and the events.
// Deployed by scripts/subscribe after the code, since Event Grid refuses a function that does not exist yet; or for each
// subscription of a management group by the policy of management-group.bicep. System topics have to be in the subscription
// whose events they have, so they get a resource group there.
targetScope = 'subscription'

import { tags as tagsType } from 'types.bicep'

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

@description('The queue that events are sent to, from main.bicep: the profile private. Empty: they are sent to the function.')
param eventsQueue string = ''

@description('Onboard only the VMs of these resource groups: names with commas between, 19 at most. Empty: all.')
param resourceGroups string = ''

@description('Also send Azure Policy\'s findings to the app.')
param policyStates bool = false

@description('Assign the app its roles here. False where it has them from a management group.')
param assignRoles bool = true

@description('GUID of a role that the app gets instead of the one made here, which has the operations that it needs and no other.')
param roleId string = ''

@description('Also let the app associate VMs with data collection rules: policies with dataCollectionRules need it.')
param associations bool = false

@description('Also let the app add identities to VMs: policies with identity need it. It takes the right to write whole VMs.')
param identities bool = false

@description('Also let the app remove extensions: policies with removeIfExists need it.')
param removals bool = false

@description('A group of people who may read the logs of extensions with onboard logs, which runs commands on VMs. Empty: nobody.')
param logReadersId string = ''

@description('A system topic for this subscription\'s events that is there already, with an identity of its own. Empty: one is made.')
param systemTopicName string = ''

@description('Its resource group.')
param systemTopicGroup string = ''

@description('Tags of all resources.')
param tags tagsType = {}

@description('The Log Analytics workspace for failed deliveries of events. Empty: they are not logged.')
param logWorkspaceId string = ''

var roles = loadJsonContent('roles.json')
var groups = empty(resourceGroups) ? [] : split(resourceGroups, ',')
var keys = assignRoles
  ? concat(
      empty(roleId) ? ['machines'] : [],
      associations ? ['associations'] : [],
      identities ? ['identities'] : [],
      removals ? ['removals'] : []
    )
  : []
// A role that is there already is assigned as it is.
var ownRole = assignRoles && !empty(roleId)
var ownRoleId = subscriptionResourceId('Microsoft.Authorization/roleDefinitions', empty(roleId) ? 'none' : roleId)

// Only the topic's own identity may write to a queue behind a firewall, and only a topic's own is that of one that was there.
var ownIdentity = !empty(eventsQueue)
var existing = empty(systemTopicName) == empty(systemTopicGroup)
  ? !empty(systemTopicName)
  : fail('SYSTEM_TOPIC and SYSTEM_TOPIC_GROUP: name the topic with its resource group, or neither')

// Event Grid compares without case. All filters of a list have to match, and together they may have 25 values.
var inGroups = empty(groups)
  ? []
  : [
      {
        operatorType: 'StringBeginsWith'
        key: 'subject'
        values: map(groups, name => '${subscription().id}/resourceGroups/${name}/')
      }
    ]

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: groupName
  location: location
  tags: tags
}

module role 'modules/role.bicep' = [
  for key in keys: {
    name: 'vm-onboarding-${key}'
    params: {
      key: key
      role: roles[key]
      principalId: appPrincipalId
      principalType: 'ServicePrincipal'
      groups: groups
    }
  }
]

module logReaders 'modules/role.bicep' = if (!empty(logReadersId)) {
  name: 'vm-onboarding-logs'
  params: {
    key: 'logs'
    role: roles.logs
    principalId: logReadersId
    principalType: 'Group'
    groups: groups
  }
}

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (ownRole && empty(groups)) {
  name: guid(subscription().id, appPrincipalId, roleId)
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: ownRoleId
  }
}

module groupAccess 'modules/group-access.bicep' = [
  for name in ownRole ? groups : []: {
    name: 'vm-onboarding-${uniqueString(name)}'
    scope: resourceGroup(name)
    params: {
      principalId: appPrincipalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: ownRoleId
    }
  }
]

module machinesTopic 'modules/events/system-topic.bicep' = if (!existing) {
  name: 'machines-topic'
  scope: group
  params: {
    name: 'vm-onboarding'
    topicType: 'Microsoft.Resources.Subscriptions'
    tags: tags
    identityId: ownIdentity ? '' : eventsIdentityId
    workspaceId: logWorkspaceId
  }
}

module machines 'modules/events/event-subscription.bicep' = {
  name: 'machines'
  scope: resourceGroup(existing ? systemTopicGroup : group.name)
  params: {
    name: 'vm-onboarding'
    topicName: existing ? systemTopicName : machinesTopic!.outputs.name
    eventTypes: [
      'Microsoft.Resources.ResourceWriteSuccess'
      'Microsoft.Resources.ResourceWriteFailure'
      'Microsoft.Resources.ResourceWriteCancel'
      'Microsoft.Resources.ResourceDeleteSuccess'
      'Microsoft.Resources.ResourceActionSuccess'
    ]
    advancedFilters: concat(
      [
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
      ],
      inGroups
    )
    functionAppId: functionAppId
    storageAccountId: storageAccountId
    identityId: ownIdentity || existing ? '' : eventsIdentityId
    queueName: eventsQueue
  }
}

module findingsTopic 'modules/events/system-topic.bicep' = if (policyStates) {
  name: 'findings-topic'
  scope: group
  params: {
    name: 'vm-onboarding-policy'
    topicType: 'Microsoft.PolicyInsights.PolicyStates'
    tags: tags
    identityId: ownIdentity ? '' : eventsIdentityId
    workspaceId: logWorkspaceId
  }
}

module findings 'modules/events/event-subscription.bicep' = if (policyStates) {
  name: 'findings'
  scope: group
  params: {
    name: 'vm-onboarding-policy'
    topicName: findingsTopic!.outputs.name
    eventTypes: [
      'Microsoft.PolicyInsights.PolicyStateCreated'
      'Microsoft.PolicyInsights.PolicyStateChanged'
    ]
    advancedFilters: concat(
      [
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
      ],
      inGroups
    )
    functionAppId: functionAppId
    storageAccountId: storageAccountId
    identityId: ownIdentity ? '' : eventsIdentityId
    queueName: eventsQueue
  }
}
