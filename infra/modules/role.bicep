// A custom role of this subscription, assigned on the subscription or on each of the named resource groups.
targetScope = 'subscription'

import { role as roleType } from '../types.bicep'

@description('The role\'s key in roles.json.')
param key string

param role roleType
param principalId string
param principalType 'ServicePrincipal' | 'Group'

@description('Empty: the whole subscription.')
param groups string[]

resource definition 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, principalId, key)
  properties: {
    roleName: '${role.roleName} ${uniqueString(subscription().id, principalId)}'
    description: role.description
    type: 'CustomRole'
    assignableScopes: [subscription().id]
    permissions: [{ actions: role.actions }]
  }
}

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (empty(groups)) {
  name: guid(subscription().id, principalId, key, 'assignment')
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: definition.id
  }
}

module groupAccess 'group-access.bicep' = [
  for name in groups: {
    name: 'vm-${key}-${uniqueString(name)}'
    scope: resourceGroup(name)
    params: {
      principalId: principalId
      principalType: principalType
      roleDefinitionId: definition.id
    }
  }
]
