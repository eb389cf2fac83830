// The events of a system topic that are sent to the app: to its function, or to the storage queue that it reads. The topic may
// be one that was there before; it needs an identity of its own then.
type filters = resourceInput<'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15'>.properties.filter.advancedFilters

param name string
param topicName string
param eventTypes string[]
param advancedFilters filters
param functionAppId string
param storageAccountId string

@description('The identity with which undeliverable events are stored. Empty: the topic\'s own, which gets its rights here.')
param identityId string

@description('The queue that events are sent to. Empty: they are sent to the function.')
param queueName string

var app = split(functionAppId, '/')
var storage = split(storageAccountId, '/')
var identity = empty(identityId)
  ? { type: 'SystemAssigned' }
  : {
      type: 'UserAssigned'
      userAssignedIdentity: identityId
    }

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: topicName
}

module access 'topic-access.bicep' = if (empty(identityId)) {
  name: 'access-${uniqueString(topic.id, name)}'
  scope: resourceGroup(storage[2], storage[4])
  params: {
    storageName: last(storage)
    principalId: topic.identity.principalId
    queueName: queueName
  }
}

resource events 'Microsoft.EventGrid/systemTopics/eventSubscriptions@2025-02-15' = {
  parent: topic
  name: name
  properties: {
    destination: empty(queueName)
      ? {
          endpointType: 'AzureFunction'
          properties: {
            resourceId: resourceId(app[2], app[4], 'Microsoft.Web/sites/functions', last(app), 'on_resource_event')
            // After one failure a batch is delivered again as a whole.
            maxEventsPerBatch: 1
          }
        }
      : null
    deliveryWithResourceIdentity: empty(queueName)
      ? null
      : {
          identity: identity
          destination: {
            endpointType: 'StorageQueue'
            properties: {
              resourceId: storageAccountId
              queueName: queueName
              // Without an end: the app gives an event a day, and then stores it with the undeliverable ones.
              queueMessageTimeToLiveInSeconds: -1
            }
          }
        }
    eventDeliverySchema: 'EventGridSchema'
    filter: {
      includedEventTypes: eventTypes
      advancedFilters: advancedFilters
    }
    retryPolicy: {
      maxDeliveryAttempts: 30
      eventTimeToLiveInMinutes: 1440
    }
    deadLetterWithResourceIdentity: {
      identity: identity
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: {
          resourceId: storageAccountId
          blobContainerName: 'dead-letters'
        }
      }
    }
  }
  dependsOn: [access]
}
