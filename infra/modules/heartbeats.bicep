// The app's right to ask the Log Analytics workspace that agents report to for their heartbeats, and nothing else there.
param workspaceName string
param appPrincipalId string

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' existing = {
  name: workspaceName
}

resource role 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(workspace.id, appPrincipalId, 'heartbeats')
  properties: {
    roleName: 'VM Onboarding Heartbeats ${uniqueString(workspace.id, appPrincipalId)}'
    description: 'Reads the heartbeats of agents in a Log Analytics workspace.'
    type: 'CustomRole'
    assignableScopes: [resourceGroup().id]
    permissions: [
      {
        actions: [
          'Microsoft.OperationalInsights/workspaces/read'
          'Microsoft.OperationalInsights/workspaces/query/read'
          'Microsoft.OperationalInsights/workspaces/query/Heartbeat/read'
        ]
      }
    ]
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
