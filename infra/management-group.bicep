// Many subscriptions at once: the app's roles on a management group, and a policy that gives each subscription below it the
// events of subscription.bicep, also those that come later. Deployed by scripts/subscribe --management-group, after main.bicep
// and the code.
targetScope = 'managementGroup'

import { role as roleType, tags as tagsType } from 'types.bicep'

@description('Region of the policy\'s identity and of the resource groups for system topics.')
param location string

@description('The name of the resource group for system topics in each subscription.')
param groupName string

@description('The function app, from main.bicep.')
param functionAppId string

@description('The principal of the app\'s identity, from main.bicep.')
param appPrincipalId string

@description('The identity with which Event Grid stores undeliverable events, from main.bicep.')
param eventsIdentityId string

@description('The storage account, from main.bicep.')
param storageAccountId string

@description('The queue that events are sent to, from main.bicep: the profile private. Empty: they are sent to the function.')
param eventsQueue string = ''

@description('Also send Azure Policy\'s findings to the app.')
param policyStates bool = false

@description('Also let the app associate VMs with data collection rules: policies with dataCollectionRules need it.')
param associations bool = false

@description('Also let the app add identities to VMs: policies with identity need it. It takes the right to write whole VMs.')
param identities bool = false

@description('Also let the app remove extensions: policies with removeIfExists need it.')
param removals bool = false

@description('DeployIfNotExists makes the event subscriptions; AuditIfNotExists only tells where they are missing.')
param effect 'DeployIfNotExists' | 'AuditIfNotExists' | 'Disabled' = 'DeployIfNotExists'

@description('Tags of the resources in each subscription.')
param tags tagsType = {}

@description('The Log Analytics workspace for failed deliveries of events. Empty: they are not logged.')
param logWorkspaceId string = ''

var roles = loadJsonContent('roles.json')
var keys = concat(
  ['machines'],
  associations ? ['associations'] : [],
  identities ? ['identities'] : [],
  removals ? ['removals'] : []
)
// The parameters of subscription.bicep that each subscription gets, by way of parameters of the policy.
var handedOver = {
  groupName: { type: 'String', value: groupName }
  location: { type: 'String', value: location }
  functionAppId: { type: 'String', value: functionAppId }
  appPrincipalId: { type: 'String', value: appPrincipalId }
  eventsIdentityId: { type: 'String', value: eventsIdentityId }
  storageAccountId: { type: 'String', value: storageAccountId }
  eventsQueue: { type: 'String', value: eventsQueue }
  policyStates: { type: 'Boolean', value: policyStates }
  tags: { type: 'Object', value: tags }
  logWorkspaceId: { type: 'String', value: logWorkspaceId }
}
var storage = split(storageAccountId, '/')
var scope = managementGroup().id
var subscriber roleType = roles.subscriber

resource definitions 'Microsoft.Authorization/roleDefinitions@2022-04-01' = [
  for key in keys: {
    name: guid(scope, appPrincipalId, key)
    properties: {
      roleName: '${roles[key].roleName} ${uniqueString(scope, appPrincipalId)}'
      description: roles[key].description
      type: 'CustomRole'
      assignableScopes: [scope]
      permissions: [{ actions: roles[key].actions }]
    }
  }
]

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for (key, index) in keys: {
    name: guid(scope, appPrincipalId, key, 'assignment')
    properties: {
      principalId: appPrincipalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: definitions[index].id
    }
  }
]

resource subscriberRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(scope, functionAppId, 'subscriber')
  properties: {
    roleName: '${subscriber.roleName} ${uniqueString(scope, functionAppId)}'
    description: subscriber.description
    type: 'CustomRole'
    assignableScopes: [scope]
    permissions: [{ actions: subscriber.actions }]
  }
}

resource definition 'Microsoft.Authorization/policyDefinitions@2025-01-01' = {
  name: 'vm-onboarding-events'
  properties: {
    policyType: 'Custom'
    mode: 'All'
    displayName: 'Send the events of virtual machines to VM onboarding'
    description: 'Makes the system topic of a subscription, and its event subscription to the function app that onboards virtual machines.'
    metadata: { category: 'Monitoring' }
    parameters: union(
      {
        effect: {
          type: 'String'
          allowedValues: [
            'DeployIfNotExists'
            'AuditIfNotExists'
            'Disabled'
          ]
          defaultValue: 'DeployIfNotExists'
        }
      },
      mapValues(handedOver, value => { type: value.type })
    )
    policyRule: {
      if: {
        field: 'type'
        equals: 'Microsoft.Resources/subscriptions'
      }
      then: {
        effect: '[parameters(\'effect\')]'
        details: {
          type: 'Microsoft.EventGrid/systemTopics'
          name: 'vm-onboarding'
          resourceGroupName: '[parameters(\'groupName\')]'
          existenceScope: 'resourceGroup'
          deploymentScope: 'subscription'
          roleDefinitionIds: [tenantResourceId('Microsoft.Authorization/roleDefinitions', subscriberRole.name)]
          deployment: {
            location: '[parameters(\'location\')]'
            properties: {
              mode: 'incremental'
              template: loadJsonContent('compiled/subscription.json')
              parameters: {
                groupName: { value: '[parameters(\'groupName\')]' }
                location: { value: '[parameters(\'location\')]' }
                functionAppId: { value: '[parameters(\'functionAppId\')]' }
                appPrincipalId: { value: '[parameters(\'appPrincipalId\')]' }
                eventsIdentityId: { value: '[parameters(\'eventsIdentityId\')]' }
                storageAccountId: { value: '[parameters(\'storageAccountId\')]' }
                eventsQueue: { value: '[parameters(\'eventsQueue\')]' }
                policyStates: { value: '[parameters(\'policyStates\')]' }
                tags: { value: '[parameters(\'tags\')]' }
                logWorkspaceId: { value: '[parameters(\'logWorkspaceId\')]' }
                // The roles are those of the management group.
                assignRoles: { value: false }
              }
            }
          }
        }
      }
    }
  }
}

resource assignment 'Microsoft.Authorization/policyAssignments@2025-01-01' = {
  name: 'vm-onboarding-events'
  location: location
  identity: { type: 'SystemAssigned' }
  properties: {
    displayName: 'Send the events of virtual machines to VM onboarding'
    policyDefinitionId: definition.id
    parameters: union({ effect: { value: effect } }, mapValues(handedOver, value => { value: value.value }))
  }
}

resource subscriberAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(scope, assignment.id, 'subscriber')
  properties: {
    principalId: assignment.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriberRole.id
  }
}

// The function, the storage account and the identity may be in a subscription that is not below the management group.
module destination 'modules/events/subscriber-access.bicep' = {
  name: 'vm-onboarding-subscriber'
  scope: resourceGroup(storage[2], storage[4])
  params: {
    principalId: assignment.identity.principalId
    assigns: !empty(eventsQueue)
  }
}

// Subscriptions that are there already are given their events by this; later ones by their first evaluation.
resource remediation 'Microsoft.PolicyInsights/remediations@2024-10-01' = if (effect == 'DeployIfNotExists') {
  name: 'vm-onboarding-events'
  properties: { policyAssignmentId: assignment.id }
  dependsOn: [subscriberAccess, destination]
}
