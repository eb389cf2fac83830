// What the Azure Monitor Agent needs, made on request: a data collection rule with performance counters, syslog and Windows'
// events, and an identity for VMs that have none. The app may use both.
import { tags as tagsType } from '../types.bicep'

param ruleName string
param identityName string
param location string
param tags tagsType

@description('The Log Analytics workspace that the rule sends to. Empty: no rule is made.')
param workspaceId string

@description('Make the identity.')
param identity bool

param appPrincipalId string

var monitoringReader = '43d0d8ad-25c7-4714-9337-8ba259a9fe05'
var managedIdentityOperator = 'f1a07417-d97a-45cb-824c-7a7467783830'

resource rule 'Microsoft.Insights/dataCollectionRules@2024-03-11' = if (!empty(workspaceId)) {
  name: ruleName
  location: location
  tags: tags
  properties: {
    dataSources: {
      performanceCounters: [
        {
          name: 'perf'
          streams: ['Microsoft-Perf']
          samplingFrequencyInSeconds: 60
          counterSpecifiers: [
            '\\Processor Information(_Total)\\% Processor Time'
            '\\Memory\\Available Bytes'
            '\\LogicalDisk(_Total)\\% Free Space'
          ]
        }
      ]
      syslog: [
        {
          name: 'syslog'
          streams: ['Microsoft-Syslog']
          facilityNames: ['auth', 'authpriv', 'cron', 'daemon', 'kern', 'syslog']
          logLevels: ['Warning', 'Error', 'Critical', 'Alert', 'Emergency']
        }
      ]
      windowsEventLogs: [
        {
          name: 'windows'
          streams: ['Microsoft-Event']
          xPathQueries: [
            'Application!*[System[(Level=1 or Level=2 or Level=3)]]'
            'System!*[System[(Level=1 or Level=2 or Level=3)]]'
          ]
        }
      ]
    }
    destinations: {
      logAnalytics: [
        {
          name: 'workspace'
          workspaceResourceId: workspaceId
        }
      ]
    }
    dataFlows: [
      {
        streams: ['Microsoft-Perf', 'Microsoft-Syslog', 'Microsoft-Event']
        destinations: ['workspace']
      }
    ]
  }
}

resource machines 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = if (identity) {
  name: identityName
  location: location
  tags: tags
}

resource ruleAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(workspaceId)) {
  name: guid(rule.id, appPrincipalId, monitoringReader)
  scope: rule
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', monitoringReader)
  }
}

resource identityAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (identity) {
  name: guid(machines.id, appPrincipalId, managedIdentityOperator)
  scope: machines
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', managedIdentityOperator)
  }
}

output ruleId string = empty(workspaceId) ? '' : rule.id
output identityId string = identity ? machines.id : ''
