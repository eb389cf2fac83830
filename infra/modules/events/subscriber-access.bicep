// The rights of the policy's identity where events are sent to, which it has nowhere else: to name the function, the queue, the
// identity and the workspace in what it makes. They are that group's own custom role, since a role of the management group cannot
// be assigned outside of it.
import { role as roleType } from '../../types.bicep'

param principalId string

@description('Let it give topics their two roles on the storage account, and no other.')
param assigns bool

var destinations roleType = loadJsonContent('../../roles.json').destinations
var roleBasedAccessControlAdministrator = 'f58310d9-a9f6-439a-9e8d-f62e7b41a168'
var storageBlobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var storageQueueDataMessageSender = 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a'
var allowed = '${storageBlobDataContributor}, ${storageQueueDataMessageSender}'

resource definition 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, principalId, 'subscriber')
  properties: {
    roleName: '${destinations.roleName} ${uniqueString(resourceGroup().id, principalId)}'
    description: destinations.description
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [{ actions: destinations.actions }]
  }
}

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, principalId, 'subscriber', 'assignment')
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: definition.id
  }
}

resource assigning 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (assigns) {
  name: guid(resourceGroup().id, principalId, roleBasedAccessControlAdministrator)
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId(
      'Microsoft.Authorization/roleDefinitions',
      roleBasedAccessControlAdministrator
    )
    conditionVersion: '2.0'
    condition: '((!(ActionMatches{\'Microsoft.Authorization/roleAssignments/write\'})) OR (@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {${allowed}})) AND ((!(ActionMatches{\'Microsoft.Authorization/roleAssignments/delete\'})) OR (@Resource[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {${allowed}}))'
  }
}
