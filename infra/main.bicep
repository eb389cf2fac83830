// The function app with all resources that it needs, in its own resource group. Deployed once, and again for each upgrade.
// subscription.bicep, deployed after the code, has the rights on virtual machines and their events.
targetScope = 'subscription'

@description('Part of the name of the resource group; each installation has its own.')
@minLength(1)
@maxLength(60)
param environmentName string

@description('A region that offers Flex Consumption.')
@metadata({ azd: { type: 'location' } })
param location string

@description('The id of the data collection rule that machines are associated with: the Azure Monitor Agent. Empty for the OMS agent.')
param dataCollectionRuleId string = ''

@description('The id of the data collection endpoint that agents take their configuration from. Empty for none.')
param dataCollectionEndpointId string = ''

@description('The id of the user-assigned identity that is added to machines without one. Empty for the system-assigned identity.')
param amaIdentityId string = ''

@description('The GUID of the Log Analytics workspace that OMS agents report to. Empty if no policy uses it.')
param omsWorkspaceId string = ''

@description('Its primary or secondary key. Stored only in the vault. Empty if no policy uses it.')
@secure()
param omsWorkspaceKey string = ''

@description('The resource id of the Log Analytics workspace whose heartbeats policies ask for. Empty if none does.')
param heartbeatWorkspaceId string = ''

@description('Create an Event Grid topic that final outcomes are published to.')
param outcomeTopic bool = false

@description('Further app settings: those that policies use as {NAME}, SWEEP_SCHEDULE, HISTORY_DAYS, ONBOARDING_POLICIES. No secrets.')
param settings object = {}

var token = uniqueString(subscription().id, environmentName, location)
// The scope of a module is evaluated even if its condition is false, so it needs an id.
var noWorkspace = '${subscription().id}/resourceGroups/none/providers/Microsoft.OperationalInsights/workspaces/none'
var heartbeatWorkspace = split(empty(heartbeatWorkspaceId) ? noWorkspace : heartbeatWorkspaceId, '/')
var tags = { 'azd-env-name': environmentName }

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module identities 'modules/identities.bicep' = {
  name: 'identities'
  scope: group
  params: {
    appName: 'id-app-${token}'
    eventsName: 'id-events-${token}'
    location: location
    tags: tags
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    name: 'st${token}'
    location: location
    tags: tags
    appPrincipalId: identities.outputs.appPrincipalId
    eventsPrincipalId: identities.outputs.eventsPrincipalId
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    workspaceName: 'log-${token}'
    insightsName: 'appi-${token}'
    location: location
    tags: tags
    appPrincipalId: identities.outputs.appPrincipalId
  }
}

module vault 'modules/vault.bicep' = if (!empty(omsWorkspaceKey)) {
  name: 'vault'
  scope: group
  params: {
    name: 'kv-${token}'
    location: location
    tags: tags
    appPrincipalId: identities.outputs.appPrincipalId
    omsWorkspaceKey: omsWorkspaceKey
  }
}

module heartbeats 'modules/heartbeats.bicep' = if (!empty(heartbeatWorkspaceId)) {
  name: 'heartbeats-${token}'
  scope: resourceGroup(heartbeatWorkspace[2], heartbeatWorkspace[4])
  params: {
    workspaceName: last(heartbeatWorkspace)
    appPrincipalId: identities.outputs.appPrincipalId
  }
}

module topic 'modules/topic.bicep' = if (outcomeTopic) {
  name: 'topic'
  scope: group
  params: {
    name: 'evgt-${token}'
    location: location
    tags: tags
    appPrincipalId: identities.outputs.appPrincipalId
  }
}

module app 'modules/app.bicep' = {
  name: 'app'
  scope: group
  params: {
    name: 'func-${token}'
    planName: 'plan-${token}'
    location: location
    tags: tags
    identityId: identities.outputs.appId
    clientId: identities.outputs.appClientId
    storageEndpoints: storage.outputs.endpoints
    packages: storage.outputs.packages
    insightsConnectionString: monitoring.outputs.connectionString
    settings: union(
      empty(dataCollectionRuleId) ? {} : { DATA_COLLECTION_RULE_ID: dataCollectionRuleId },
      empty(dataCollectionEndpointId) ? {} : { DATA_COLLECTION_ENDPOINT_ID: dataCollectionEndpointId },
      empty(amaIdentityId) ? {} : { AMA_IDENTITY_ID: amaIdentityId },
      empty(omsWorkspaceId) ? {} : { OMS_WORKSPACE_ID: omsWorkspaceId },
      empty(omsWorkspaceKey) ? {} : { OMS_WORKSPACE_KEY: vault!.outputs.omsWorkspaceKeyReference },
      empty(heartbeatWorkspaceId) ? {} : { LOG_ANALYTICS_WORKSPACE_ID: heartbeats!.outputs.workspaceId },
      outcomeTopic ? { OUTCOME_TOPIC_ENDPOINT: topic!.outputs.endpoint } : {},
      settings
    )
  }
}

// scripts/subscribe passes these to subscription.bicep.
output AZURE_RESOURCE_GROUP string = group.name
output APP_PRINCIPAL_ID string = identities.outputs.appPrincipalId
output EVENTS_IDENTITY_ID string = identities.outputs.eventsId
output FUNCTION_APP_ID string = app.outputs.id
output STORAGE_ACCOUNT_ID string = storage.outputs.id

// For people, after the deployment.
output FUNCTION_APP_NAME string = app.outputs.name
output STORAGE_ACCOUNT_NAME string = storage.outputs.name
output HEALTH_URL string = 'https://${app.outputs.hostName}/api/health'
