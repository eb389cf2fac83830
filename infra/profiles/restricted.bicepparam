using '../main.bicep'

// Event Grid and the named ranges reach the app, nobody else does; people sign in.
param environmentName = 'onboarding'
param location = 'westeurope'
param profile = 'restricted'
param allowedRanges = '203.0.113.0/24,198.51.100.7/32'
param authClientId = '00000000-0000-0000-0000-00000000aaaa'
param omsWorkspaceId = '00000000-0000-0000-0000-00000000bbbb'
param vaultSettings = 'OMS_WORKSPACE_KEY,PROXY_PASSWORD'
param outcomeTopic = true
param lock = 'CanNotDelete'
param tags = { 'cost-center': '4711' }
