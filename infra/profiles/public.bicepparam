using '../main.bicep'

// Everything is reached from everywhere, by identity alone: the smallest installation.
param environmentName = 'onboarding'
param location = 'westeurope'
param dataCollectionRuleId = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/monitoring/providers/Microsoft.Insights/dataCollectionRules/machines'
param dataCollectionEndpointId = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/monitoring/providers/Microsoft.Insights/dataCollectionEndpoints/machines'
