// A role of a principal in one resource group.
param principalId string
param principalType 'ServicePrincipal' | 'Group'
param roleDefinitionId string

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, principalId, last(split(roleDefinitionId, '/')))
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: roleDefinitionId
  }
}
