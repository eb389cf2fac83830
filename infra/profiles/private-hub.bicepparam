using '../main.bicep'

// The profile private in a network of the company, with its private DNS zones.
param environmentName = 'onboarding'
param location = 'westeurope'
param profile = 'private'
param appSubnetId = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg-spoke/providers/Microsoft.Network/virtualNetworks/vnet-spoke/subnets/onboarding'
param endpointSubnetId = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg-spoke/providers/Microsoft.Network/virtualNetworks/vnet-spoke/subnets/endpoints'
param dnsZonesGroupId = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg-hub'
param dataCollectionRuleId = '/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/monitoring/providers/Microsoft.Insights/dataCollectionRules/machines'
param names = { group: 'rg-app-onboarding', app: 'func-company-onboarding', storage: 'stcompanyonboarding' }
