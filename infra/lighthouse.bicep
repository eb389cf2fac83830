// A subscription of another tenant, managed through Azure Lighthouse: deployed there, by its owner. Lighthouse knows built-in
// roles alone, so the app gets Virtual Machine Contributor, which is far more than it needs.
targetScope = 'subscription'

@description('The tenant that the app is in.')
param managingTenantId string

@description('The principal of the app\'s identity there.')
param appPrincipalId string

var virtualMachineContributor = '9980e02c-c2be-4d73-94e8-173b1dc7cf3c'

resource definition 'Microsoft.ManagedServices/registrationDefinitions@2022-10-01' = {
  name: guid(subscription().id, managingTenantId, appPrincipalId)
  properties: {
    registrationDefinitionName: 'VM onboarding'
    description: 'Installs the extensions that policies ask for on virtual machines.'
    managedByTenantId: managingTenantId
    authorizations: [
      {
        principalId: appPrincipalId
        principalIdDisplayName: 'VM onboarding'
        roleDefinitionId: virtualMachineContributor
      }
    ]
  }
}

resource assignment 'Microsoft.ManagedServices/registrationAssignments@2022-10-01' = {
  name: guid(subscription().id, managingTenantId, appPrincipalId, 'assignment')
  properties: { registrationDefinitionId: definition.id }
}
