// The vault with the workspace key. The app setting is a reference to it; the key is nowhere else.
param name string
param location string
param tags object
param appPrincipalId string

@secure()
param omsWorkspaceKey string

var keyVaultSecretsUser = '4633458b-17de-408a-b874-0445c86b69e6'

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
  }
}

resource secret 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = {
  parent: vault
  name: 'oms-workspace-key'
  properties: { value: omsWorkspaceKey }
}

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(secret.id, appPrincipalId, keyVaultSecretsUser)
  scope: secret
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', keyVaultSecretsUser)
  }
}

// Without a version: a key that is replaced in the vault reaches the app within a day.
output omsWorkspaceKeyReference string = '@Microsoft.KeyVault(SecretUri=${secret.properties.secretUri})'
