// The app's right to ask the Log Analytics workspace that agents report to for their heartbeats, and nothing else there.
import { role as roleType } from '../types.bicep'

param workspaceName string
param appPrincipalId string

var heartbeats roleType = loadJsonContent('../roles.json').heartbeats

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' existing = {
  name: workspaceName
}

resource role 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(workspace.id, appPrincipalId, 'heartbeats')
  properties: {
    roleName: '${heartbeats.roleName} ${uniqueString(workspace.id, appPrincipalId)}'
    description: heartbeats.description
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [{ actions: heartbeats.actions }]
  }
}

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(workspace.id, appPrincipalId, 'heartbeats', 'assignment')
  scope: workspace
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: role.id
  }
}

output workspaceId string = workspace.properties.customerId
