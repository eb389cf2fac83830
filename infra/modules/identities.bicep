// An identity for each concern: what the app's code does, how the platform stores and loads the app's package, and how
// Event Grid stores undeliverable events. They are created before the resources that use them, so that their roles are
// effective by then.
import { tags as tagsType } from '../types.bicep'

param appName string
param packageName string
param eventsName string
param location string
param tags tagsType

resource app 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: appName
  location: location
  tags: tags
}

resource package 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: packageName
  location: location
  tags: tags
}

resource events 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: eventsName
  location: location
  tags: tags
}

output appId string = app.id
output appClientId string = app.properties.clientId
output appPrincipalId string = app.properties.principalId
output packageId string = package.id
output packagePrincipalId string = package.properties.principalId
output eventsId string = events.id
output eventsPrincipalId string = events.properties.principalId
