// A system topic of this subscription. A subscription can have only one of each type for its events.
import { tags as tagsType } from '../../types.bicep'

param name string
param topicType string
param tags tagsType

@description('The identity with which undeliverable events are stored. Empty: the topic has one of its own.')
param identityId string

@description('The Log Analytics workspace for failed deliveries. Empty: they are not logged.')
param workspaceId string

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: name
  location: 'global'
  tags: tags
  identity: empty(identityId)
    ? { type: 'SystemAssigned' }
    : {
        type: 'UserAssigned'
        userAssignedIdentities: { '${identityId}': {} }
      }
  properties: {
    source: subscription().id
    topicType: topicType
  }
}

resource logs 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (!empty(workspaceId)) {
  name: 'vm-onboarding'
  scope: topic
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'DeliveryFailures'
        enabled: true
      }
    ]
  }
}

output name string = topic.name
