// The function app with all resources that it needs, in its own resource group. Deployed once, and again for each upgrade.
// subscription.bicep, deployed after the code, has the rights on virtual machines and their events.
targetScope = 'subscription'

import { lock as lockType, names as namesType, profile as profileType, settings as settingsType, tags as tagsType } from 'types.bicep'

@description('Part of the name of the resource group; each installation has its own.')
@minLength(1)
@maxLength(60)
param environmentName string

@description('A region that offers Flex Consumption.')
@metadata({ azd: { type: 'location' } })
param location string

@description('Who reaches the app: public, restricted (Event Grid and allowedRanges), private (a virtual network alone).')
param profile profileType = 'public'

@description('The ranges of people and pipelines in the profile restricted: CIDR blocks with commas between.')
param allowedRanges string = ''

@description('The address space of the network that the profile private makes: a /26 or larger. Unused with subnets of your own.')
param networkAddress string = '10.77.0.0/26'

@description('A /27 or larger of your own that the app sends from, delegated to Microsoft.App/environments. Empty: made here.')
param appSubnetId string = ''

@description('A subnet of your own for private endpoints, in the same region. Empty: made here.')
param endpointSubnetId string = ''

@description('The resource group with your private DNS zones. Empty: made here, or, with subnets of your own, written by a policy.')
param dnsZonesGroupId string = ''

@description('Refuse what the app sends to the internet but for the services that it needs, in the network that is made here.')
param denyInternet bool = true

@description('The id of the data collection rule that machines are associated with: the Azure Monitor Agent. Empty for the OMS agent.')
param dataCollectionRuleId string = ''

@description('The id of the data collection endpoint that agents take their configuration from. Empty for none.')
param dataCollectionEndpointId string = ''

@description('The id of the user-assigned identity that is added to machines without one. Empty for the system-assigned identity.')
param amaIdentityId string = ''

@description('Make a data collection rule that sends to this Log Analytics workspace, and use it. Empty: none is made.')
param dataCollectionWorkspaceId string = ''

@description('Make an identity for machines without one, and use it.')
param createAmaIdentity bool = false

@description('The GUID of the Log Analytics workspace that OMS agents report to. Empty if no policy uses it.')
param omsWorkspaceId string = ''

@description('Its primary or secondary key. Stored only in the vault. Empty if no policy uses it.')
@secure()
param omsWorkspaceKey string = ''

@description('App settings whose values are secrets of the vault: names with commas between. NAME_OF_ONE is the secret name-of-one.')
param vaultSettings string = ''

@description('The resource id of the Log Analytics workspace whose heartbeats policies ask for. Empty if none does.')
param heartbeatWorkspaceId string = ''

@description('Create an Event Grid topic that final outcomes are published to.')
param outcomeTopic bool = false

@description('The client id of the app registration with which people sign in. Empty: there is no sign-in.')
param authClientId string = ''

@description('Further app settings: those that policies use as {NAME}, SWEEP_SCHEDULE, HISTORY_DAYS, ONBOARDING_POLICIES. No secrets.')
param settings settingsType = {}

@description('Tags of all resources.')
param tags tagsType = {}

@description('Names that replace those made from the environment.')
param names namesType = {}

@description('Lock the storage account and the vault against deletion.')
param lock lockType = 'None'

@description('Replicas of the storage account.')
param storageSku 'Standard_LRS' | 'Standard_ZRS' | 'Standard_GRS' | 'Standard_GZRS' = 'Standard_ZRS'

@description('Spread the app over zones. At least two instances of each function are then always ready, and billed.')
param zoneRedundant bool = false

@description('Replace instances one after another at an upgrade, instead of all at once. A preview of the platform.')
param rollingUpdate bool = false

@description('Memory of an instance in MB.')
param instanceMemoryMB 512 | 2048 | 4096 = 2048

@minValue(1)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('Days that the app\'s logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Days that undeliverable events are kept.')
@minValue(1)
param deadLetterDays int = 30

@description('Days that what was deleted from storage and vault can be restored.')
@minValue(7)
@maxValue(90)
param deletedDays int = 30

@description('Keep a deleted vault from being purged before these days are over. It cannot be switched off again.')
param purgeProtection bool = true

@description('Send the logs of storage, vault and topic to the app\'s workspace.')
param diagnostics bool = true

var token = uniqueString(subscription().id, environmentName, location)
// The scope of a module is evaluated even if its condition is false, so it needs an id.
var noWorkspace = '${subscription().id}/resourceGroups/none/providers/Microsoft.OperationalInsights/workspaces/none'
var heartbeatWorkspace = split(empty(heartbeatWorkspaceId) ? noWorkspace : heartbeatWorkspaceId, '/')
var allTags = union(tags, { 'azd-env-name': environmentName })
var closed = profile == 'private'
var ownNetwork = empty(appSubnetId) == empty(endpointSubnetId)
  ? closed && empty(appSubnetId)
  : fail('APP_SUBNET_ID and ENDPOINT_SUBNET_ID: name both of your subnets, or neither')
var ranges = empty(allowedRanges) && profile == 'restricted'
  ? fail('ALLOWED_RANGES: the profile restricted needs the ranges of those who deploy the code and read the pages')
  : (empty(allowedRanges) ? [] : split(allowedRanges, ','))
var secrets = union(
  empty(vaultSettings) ? [] : split(vaultSettings, ','),
  empty(omsWorkspaceKey) ? [] : ['OMS_WORKSPACE_KEY']
)
var collects = !empty(dataCollectionWorkspaceId) || createAmaIdentity

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: names.?group ?? 'rg-${environmentName}'
  location: location
  tags: allTags
}

module identities 'modules/identities.bicep' = {
  name: 'identities'
  scope: group
  params: {
    appName: names.?appIdentity ?? 'id-app-${token}'
    packageName: names.?packageIdentity ?? 'id-package-${token}'
    eventsName: names.?eventsIdentity ?? 'id-events-${token}'
    location: location
    tags: allTags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    workspaceName: names.?workspace ?? 'log-${token}'
    insightsName: names.?insights ?? 'appi-${token}'
    location: location
    tags: allTags
    retentionDays: logRetentionDays
    appPrincipalId: identities.outputs.appPrincipalId
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    name: names.?storage ?? 'st${token}'
    location: location
    tags: allTags
    profile: profile
    sku: storageSku
    deadLetterDays: deadLetterDays
    deletedDays: deletedDays
    lock: lock
    workspaceId: diagnostics ? monitoring.outputs.workspaceId : ''
    appPrincipalId: identities.outputs.appPrincipalId
    packagePrincipalId: identities.outputs.packagePrincipalId
    eventsPrincipalId: identities.outputs.eventsPrincipalId
  }
}

module vault 'modules/vault.bicep' = if (!empty(secrets)) {
  name: 'vault'
  scope: group
  params: {
    name: names.?vault ?? 'kv-${token}'
    location: location
    tags: allTags
    profile: profile
    purgeProtection: purgeProtection
    deletedDays: deletedDays
    lock: lock
    workspaceId: diagnostics ? monitoring.outputs.workspaceId : ''
    appPrincipalId: identities.outputs.appPrincipalId
    vaultSettings: secrets
    omsWorkspaceKey: omsWorkspaceKey
  }
}

module collection 'modules/data-collection.bicep' = if (collects) {
  name: 'collection'
  scope: group
  params: {
    ruleName: 'dcr-${token}'
    identityName: 'id-machines-${token}'
    location: location
    tags: allTags
    workspaceId: dataCollectionWorkspaceId
    identity: createAmaIdentity
    appPrincipalId: identities.outputs.appPrincipalId
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
    name: names.?topic ?? 'evgt-${token}'
    location: location
    tags: allTags
    profile: profile
    workspaceId: diagnostics ? monitoring.outputs.workspaceId : ''
    appPrincipalId: identities.outputs.appPrincipalId
  }
}

module network 'modules/network/network.bicep' = if (ownNetwork) {
  name: 'network'
  scope: group
  params: {
    name: names.?network ?? 'vnet-${token}'
    location: location
    tags: allTags
    addressPrefix: networkAddress
    denyInternet: denyInternet
  }
}

module app 'modules/app.bicep' = {
  name: 'app'
  scope: group
  params: {
    name: names.?app ?? 'func-${token}'
    planName: names.?plan ?? 'plan-${token}'
    location: location
    tags: allTags
    profile: profile
    allowedRanges: ranges
    subnetId: closed ? (ownNetwork ? network!.outputs.appSubnetId : appSubnetId) : ''
    identityId: identities.outputs.appId
    clientId: identities.outputs.appClientId
    packageIdentityId: identities.outputs.packageId
    storageEndpoints: storage.outputs.endpoints
    packages: storage.outputs.packages
    insightsConnectionString: monitoring.outputs.connectionString
    authClientId: authClientId
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
    zoneRedundant: zoneRedundant
    rollingUpdate: rollingUpdate
    settings: union(
      empty(dataCollectionWorkspaceId) ? {} : { DATA_COLLECTION_RULE_ID: collection!.outputs.ruleId },
      empty(dataCollectionRuleId) ? {} : { DATA_COLLECTION_RULE_ID: dataCollectionRuleId },
      empty(dataCollectionEndpointId) ? {} : { DATA_COLLECTION_ENDPOINT_ID: dataCollectionEndpointId },
      createAmaIdentity ? { AMA_IDENTITY_ID: collection!.outputs.identityId } : {},
      empty(amaIdentityId) ? {} : { AMA_IDENTITY_ID: amaIdentityId },
      empty(omsWorkspaceId) ? {} : { OMS_WORKSPACE_ID: omsWorkspaceId },
      empty(heartbeatWorkspaceId) ? {} : { LOG_ANALYTICS_WORKSPACE_ID: heartbeats!.outputs.workspaceId },
      outcomeTopic ? { OUTCOME_TOPIC_ENDPOINT: topic!.outputs.endpoint } : {},
      closed ? { EVENTS_QUEUE: storage.outputs.eventsQueue } : {},
      empty(secrets) ? {} : vault!.outputs.references,
      settings
    )
  }
}

module access 'modules/network/private-access.bicep' = if (closed) {
  name: 'private-access'
  scope: group
  params: {
    token: token
    location: location
    tags: allTags
    subnetId: ownNetwork ? network!.outputs.endpointSubnetId : endpointSubnetId
    networkId: ownNetwork ? network!.outputs.id : ''
    zonesGroupId: dnsZonesGroupId
    storageId: storage.outputs.id
    vaultId: empty(secrets) ? '' : vault!.outputs.id
    topicId: outcomeTopic ? topic!.outputs.id : ''
    appId: app.outputs.id
  }
}

// scripts/subscribe passes these to subscription.bicep.
output AZURE_RESOURCE_GROUP string = group.name
output APP_PRINCIPAL_ID string = identities.outputs.appPrincipalId
output EVENTS_IDENTITY_ID string = identities.outputs.eventsId
output EVENTS_QUEUE string = storage.outputs.eventsQueue
output FUNCTION_APP_ID string = app.outputs.id
output STORAGE_ACCOUNT_ID string = storage.outputs.id
output LOG_WORKSPACE_ID string = monitoring.outputs.workspaceId

// For people, after the deployment.
output FUNCTION_APP_NAME string = app.outputs.name
output STORAGE_ACCOUNT_NAME string = storage.outputs.name
output KEY_VAULT_NAME string = empty(secrets) ? '' : vault!.outputs.name
output HEALTH_URL string = 'https://${app.outputs.hostName}/api/health'
