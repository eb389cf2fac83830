// The vault of all secret settings. App settings are references to it; the values are nowhere else.
import { lock as lockType, profile as profileType, settings as settingsType, tags as tagsType } from '../types.bicep'

param name string
param location string
param tags tagsType
param profile profileType
param purgeProtection bool
param deletedDays int
param lock lockType
param workspaceId string
param appPrincipalId string

@description('The app settings whose values are secrets. A setting NAME_OF_ONE is the secret name-of-one.')
param vaultSettings string[]

@secure()
param omsWorkspaceKey string

var closed = profile == 'private'
var keyVaultSecretsUser = '4633458b-17de-408a-b874-0445c86b69e6'

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' = {
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
    softDeleteRetentionInDays: deletedDays
    // It cannot be switched off again, and Azure refuses false.
    enablePurgeProtection: purgeProtection ? true : null
    publicNetworkAccess: closed ? 'Disabled' : 'Enabled'
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: closed ? 'Deny' : 'Allow'
    }
  }
}

resource secret 'Microsoft.KeyVault/vaults/secrets@2025-05-01' = if (!empty(omsWorkspaceKey)) {
  parent: vault
  name: 'oms-workspace-key'
  properties: {
    value: omsWorkspaceKey
    contentType: 'key of a Log Analytics workspace'
  }
}

resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, appPrincipalId, keyVaultSecretsUser)
  scope: vault
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', keyVaultSecretsUser)
  }
}

resource deletions 'Microsoft.Authorization/locks@2020-05-01' = if (lock != 'None') {
  name: 'vm-onboarding'
  scope: vault
  properties: { level: 'CanNotDelete' }
}

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(workspaceId)) {
  name: 'vm-onboarding'
  scope: vault
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'AuditEvent'
        enabled: true
      }
    ]
  }
}

output id string = vault.id
output name string = vault.name
// Without a version: a secret that is replaced in the vault reaches the app within a day.
output references settingsType = toObject(
  vaultSettings,
  setting => setting,
  setting => '@Microsoft.KeyVault(SecretUri=${vault.properties.vaultUri}secrets/${toLower(replace(setting, '_', '-'))})'
)
