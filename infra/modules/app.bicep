// The function app on Flex Consumption. Runtime, package and scale are in functionAppConfig: Flex has no app settings for them.
import { endpoints as endpointsType, profile as profileType, settings as settingsType, tags as tagsType } from '../types.bicep'

param name string
param planName string
param location string
param tags tagsType
param profile profileType
param allowedRanges string[]
param subnetId string
param identityId string
param clientId string
param packageIdentityId string
param storageEndpoints endpointsType
param packages string
param insightsConnectionString string
param settings settingsType
param authClientId string
param instanceMemoryMB 512 | 2048 | 4096
param maximumInstanceCount int
param zoneRedundant bool
param rollingUpdate bool

// The product and Azure call the public cloud by different names.
var cloud = (environment().name == 'AzureCloud') ? 'AzurePublicCloud' : environment().name

// Addresses instead of __accountName, which the host resolves in the public cloud only.
var ownSettings = {
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: clientId
  AzureWebJobsStorage__blobServiceUri: storageEndpoints.blob
  AzureWebJobsStorage__queueServiceUri: storageEndpoints.queue
  AzureWebJobsStorage__tableServiceUri: storageEndpoints.table
  APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${clientId};Authorization=AAD'
  AZURE_CLIENT_ID: clientId
  AZURE_CLOUD: cloud
}

// The app proves to Microsoft Entra ID that it is the registration by its identity; there is no client secret.
var signInSettings = empty(authClientId)
  ? {}
  : {
      OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID: clientId
      WEBSITE_AUTH_AAD_ALLOWED_TENANTS: tenant().tenantId
    }

// The public network of the profile restricted: Event Grid's deliveries, and the ranges of people and pipelines.
var people = map(range(0, length(allowedRanges)), index => {
  name: 'people-${index + 1}'
  action: 'Allow'
  priority: 200 + index
  ipAddress: allowedRanges[index]
})
var deliveries = {
  name: 'event-grid'
  action: 'Allow'
  priority: 100
  tag: 'ServiceTag'
  ipAddress: 'AzureEventGrid'
}

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
    zoneRedundant: zoneRedundant
  }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'onboarding' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
      '${packageIdentityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identityId
    publicNetworkAccess: profile == 'private' ? 'Disabled' : 'Enabled'
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      runtime: {
        name: 'python'
        version: '3.13'
      }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: packages
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: packageIdentityId
          }
        }
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        triggers: { http: { perInstanceConcurrency: 16 } }
      }
      // The types of this API version do not have it yet; the API does.
      #disable-next-line BCP037
      siteUpdateStrategy: rollingUpdate ? { type: 'RollingUpdate' } : null
    }
    siteConfig: {
      minTlsVersion: '1.2'
      ftpsState: 'Disabled'
      ipSecurityRestrictionsDefaultAction: profile == 'restricted' ? 'Deny' : 'Allow'
      ipSecurityRestrictions: profile == 'restricted' ? concat([deliveries], people) : []
      scmIpSecurityRestrictionsUseMain: false
      scmIpSecurityRestrictionsDefaultAction: profile == 'restricted' ? 'Deny' : 'Allow'
      scmIpSecurityRestrictions: profile == 'restricted' ? people : []
    }
  }
}

resource appSettings 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: app
  name: 'appsettings'
  properties: union(ownSettings, signInSettings, settings)
}

// Requests without a sign-in pass: the app itself checks who may see a page, while Event Grid's deliveries, which have the
// host's key, and the health page stay as they are.
resource signIn 'Microsoft.Web/sites/config@2025-03-01' = if (!empty(authClientId)) {
  parent: app
  name: 'authsettingsV2'
  properties: {
    platform: {
      enabled: true
      runtimeVersion: '~1'
    }
    globalValidation: {
      requireAuthentication: false
      unauthenticatedClientAction: 'AllowAnonymous'
    }
    httpSettings: {
      requireHttps: true
      routes: { apiPrefix: '/.auth' }
      forwardProxy: { convention: 'NoProxy' }
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: true
        registration: {
          openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
          clientId: authClientId
          clientSecretSettingName: 'OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID'
        }
        validation: {
          allowedAudiences: [
            authClientId
            'api://${authClientId}'
          ]
          defaultAuthorizationPolicy: { allowedApplications: [authClientId] }
        }
      }
    }
    login: {
      tokenStore: { enabled: true }
      cookieExpiration: {
        convention: 'FixedTime'
        timeToExpiration: '08:00:00'
      }
      nonce: {
        validateNonce: true
        nonceExpirationInterval: '00:05:00'
      }
    }
  }
  dependsOn: [appSettings]
}

resource ftpPasswords 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'ftp'
  properties: { allow: false }
}

resource scmPasswords 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'scm'
  properties: { allow: false }
}

output id string = app.id
output name string = app.name
output hostName string = app.properties.defaultHostName
