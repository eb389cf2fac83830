using '../management-group.bicep'

// Every subscription below a management group, with the profile private.
param groupName = 'rg-onboarding-events'
param location = 'westeurope'
param functionAppId = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg-onboarding/providers/Microsoft.Web/sites/func-onboarding'
param appPrincipalId = '00000000-0000-0000-0000-00000000cccc'
param eventsIdentityId = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg-onboarding/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-events'
param storageAccountId = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg-onboarding/providers/Microsoft.Storage/storageAccounts/stonboarding'
param eventsQueue = 'events'
param associations = true
param identities = true
