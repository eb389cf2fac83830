using '../main.bicep'

// Only the virtual network reaches the app, its storage and its vault. Events come by a storage queue.
param environmentName = 'onboarding'
param location = 'westeurope'
param profile = 'private'
param dataCollectionWorkspaceId = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/monitoring/providers/Microsoft.OperationalInsights/workspaces/machines'
param createAmaIdentity = true
param heartbeatWorkspaceId = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/monitoring/providers/Microsoft.OperationalInsights/workspaces/machines'
param vaultSettings = 'PROXY_PASSWORD'
param outcomeTopic = true
param authClientId = '00000000-0000-0000-0000-00000000aaaa'
param zoneRedundant = true
param storageSku = 'Standard_GZRS'
param lock = 'CanNotDelete'
param tags = { 'cost-center': '4711' }
