"""What aliases there are, as data: resource types, the properties of a VM and of its extension, and the exceptions.

An alias is `<resource type>/<path>` and means `properties.<path>` of that type, unless a table here says otherwise.
The property trees follow the Compute API of 2025-04-01 and are wider than Azure's own list on purpose (a GET shows
more than Azure Policy does, the instance view for one); a path outside them is a spelling mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

VIRTUAL_MACHINES: Final = "Microsoft.Compute/virtualMachines"
SCALE_SETS: Final = "Microsoft.Compute/virtualMachineScaleSets"
HYBRID_MACHINES: Final = "Microsoft.HybridCompute/machines"

_IMAGE: Final = "properties.storageProfile.imageReference"
_SET_IMAGE: Final = "properties.virtualMachineProfile.storageProfile.imageReference"

# Aliases without a resource type of their own: where the value lies, for each type that has it.
SHARED: Final[Mapping[str, Mapping[str, str]]] = {
    "Microsoft.Compute/imagePublisher": {
        VIRTUAL_MACHINES: f"{_IMAGE}.publisher",
        SCALE_SETS: f"{_SET_IMAGE}.publisher",
    },
    "Microsoft.Compute/imageOffer": {VIRTUAL_MACHINES: f"{_IMAGE}.offer", SCALE_SETS: f"{_SET_IMAGE}.offer"},
    "Microsoft.Compute/imageSku": {VIRTUAL_MACHINES: f"{_IMAGE}.sku", SCALE_SETS: f"{_SET_IMAGE}.sku"},
    "Microsoft.Compute/imageVersion": {VIRTUAL_MACHINES: f"{_IMAGE}.version", SCALE_SETS: f"{_SET_IMAGE}.version"},
    "Microsoft.Compute/imageId": {
        VIRTUAL_MACHINES: f"{_IMAGE}.id",
        SCALE_SETS: f"{_SET_IMAGE}.id",
        "Microsoft.Compute/disks": "properties.creationData.imageReference.id",
    },
    "Microsoft.Compute/licenseType": {
        VIRTUAL_MACHINES: "properties.licenseType",
        SCALE_SETS: "properties.virtualMachineProfile.licenseType",
    },
    "Microsoft.HybridCompute/imagePublisher": {HYBRID_MACHINES: "properties.osProfile.publisher"},
    "Microsoft.HybridCompute/imageOffer": {HYBRID_MACHINES: "properties.osName"},
    "Microsoft.HybridCompute/imageSku": {HYBRID_MACHINES: "properties.osSku"},
    "Microsoft.HybridCompute/imageVersion": {HYBRID_MACHINES: "properties.osVersion"},
}

# Older short names, and what lies beside `properties`: the first part of an alias's path → where it really is.
MOVED: Final[Mapping[str, Mapping[str, str]]] = {
    VIRTUAL_MACHINES: {
        "imagePublisher": f"{_IMAGE}.publisher",
        "imageOffer": f"{_IMAGE}.offer",
        "imageSku": f"{_IMAGE}.sku",
        "imageVersion": f"{_IMAGE}.version",
        "imageId": f"{_IMAGE}.id",
        "sku.name": "properties.hardwareProfile.vmSize",
        "osDisk": "properties.storageProfile.osDisk.vhd",
        "networkInterfaces": "properties.networkProfile.networkInterfaces",
        "resources": "resources",
    },
    SCALE_SETS: {
        "imagePublisher": f"{_SET_IMAGE}.publisher",
        "imageOffer": f"{_SET_IMAGE}.offer",
        "imageSku": f"{_SET_IMAGE}.sku",
        "imageVersion": f"{_SET_IMAGE}.version",
    },
}
BESIDE_PROPERTIES: Final = frozenset(
    [
        "id",
        "name",
        "type",
        "location",
        "tags",
        "identity",
        "kind",
        "plan",
        "sku",
        "zones",
        "managedBy",
        "extendedLocation",
        "etag",
        "systemData",
        "placement",
    ]
)
# On these the words above are properties of their own (an extension's `type` is its handler's).
ALL_IN_PROPERTIES: Final[Mapping[str, frozenset[str]]] = {
    "Microsoft.Compute/virtualMachines/extensions": frozenset({"type"}),
    "Microsoft.Compute/virtualMachineScaleSets/extensions": frozenset({"type"}),
    "Microsoft.HybridCompute/machines/extensions": frozenset({"type"}),
}

_STATUS = "(code level displayStatus message time)"
_DISK_SECURITY = "diskEncryptionSet(id) securityProfile(securityEncryptionType diskEncryptionSet(id))"
_KEYS = "diskEncryptionKey(secretUrl sourceVault(id)) keyEncryptionKey(keyUrl sourceVault(id)) enabled"
_PATCH = (
    "patchMode enableHotpatching assessmentMode"
    " automaticByPlatformSettings(rebootSetting bypassPlatformSafetyChecksOnUserSchedule)"
)
_PROXY = "(mode inVMAccessControlProfileReferenceId useLocalFileRules)"

# `name(children)`, `[]` for an array, `*` for whatever a publisher puts there.
PROPERTIES: Final[Mapping[str, str]] = {
    VIRTUAL_MACHINES: f"""
        hardwareProfile(vmSize vmSizeProperties(vCPUsAvailable vCPUsPerCore) processorMode)
        storageProfile(
          imageReference(id publisher offer sku version exactVersion sharedGalleryImageId communityGalleryImageId)
          osDisk(osType encryptionSettings({_KEYS}) name vhd(uri) image(uri) caching writeAcceleratorEnabled
            diffDiskSettings(option placement enableFullCaching) createOption diskSizeGB deleteOption
            managedDisk(id storageAccountType {_DISK_SECURITY}) storageFaultDomainAlignment)
          dataDisks[](lun name vhd(uri) image(uri) caching writeAcceleratorEnabled createOption diskSizeGB
            managedDisk(id storageAccountType {_DISK_SECURITY}) sourceResource(id) toBeDetached diskIOPSReadWrite
            diskMBpsReadWrite detachOption deleteOption storageFaultDomainAlignment)
          diskControllerType alignRegionalDisksToVMZone diskApiVersion)
        additionalCapabilities(ultraSSDEnabled hibernationEnabled enableFips1403Encryption)
        osProfile(computerName adminUsername adminPassword customData
          windowsConfiguration(provisionVMAgent enableAutomaticUpdates timeZone enableVMAgentPlatformUpdates
            additionalUnattendContent[](passName componentName settingName content) patchSettings({_PATCH})
            winRM(listeners[](protocol certificateUrl)))
          linuxConfiguration(disablePasswordAuthentication ssh(publicKeys[](path keyData)) provisionVMAgent
            patchSettings({_PATCH}) enableVMAgentPlatformUpdates)
          secrets[](sourceVault(id) vaultCertificates[](certificateUrl certificateStore))
          allowExtensionOperations requireGuestProvisionSignal)
        networkProfile(networkInterfaces[](id properties(primary deleteOption) primary deleteOption) networkApiVersion
          networkInterfaceConfigurations[](*) interconnectGroupProfile(*))
        securityProfile(uefiSettings(secureBootEnabled vTpmEnabled) encryptionAtHost securityType
          encryptionIdentity(userAssignedIdentityResourceId)
          proxyAgentSettings(enabled mode keyIncarnationId wireServer{_PROXY} imds{_PROXY} addProxyAgentExtension))
        diagnosticsProfile(bootDiagnostics(enabled storageUri))
        availabilitySet(id) virtualMachineScaleSet(id) proximityPlacementGroup(id) priority evictionPolicy
        billingProfile(maxPrice) host(id) hostGroup(id) provisioningState licenseType vmId extensionsTimeBudget
        platformFaultDomain userData timeCreated flexProfile(*) scheduledEventsPolicy(*) scheduledEventsProfile(*)
        capacityReservation(capacityReservationGroup(id) *) interconnectBlockProfile(*) resiliencyProfile(*)
        applicationProfile(galleryApplications[](tags order packageReferenceId configurationReference
          treatFailureAsDeploymentFailure enableAutomaticUpgrade))
        instanceView(platformUpdateDomain platformFaultDomain computerName osName osVersion hyperVGeneration
          rdpThumbPrint vmAgent(vmAgentVersion statuses[]{_STATUS}
            extensionHandlers[](type typeHandlerVersion status{_STATUS}))
          extensions[](name type typeHandlerVersion substatuses[]{_STATUS} statuses[]{_STATUS})
          statuses[]{_STATUS} vmHealth(status{_STATUS}) assignedHost disks[](*) bootDiagnostics(*) patchStatus(*)
          maintenanceRedeployStatus(*) *)
        extensions(*) diagnosticSettings(*) metrics(*) metricDefinitions(*)
    """,
    f"{VIRTUAL_MACHINES}/extensions": f"""
        forceUpdateTag publisher type typeHandlerVersion autoUpgradeMinorVersion enableAutomaticUpgrade settings(*)
        protectedSettings(*) provisioningState suppressFailures protectedSettingsFromKeyVault(*)
        provisionAfterExtensions[] resources[](*)
        instanceView(name type typeHandlerVersion substatuses[]{_STATUS} statuses[]{_STATUS})
    """,
}

# Types whose aliases may stand in a rule. Other than those above their paths are not checked: no VM has them.
TYPES: Final = """
Microsoft.Authorization: roleAssignments roleDefinitions locks policyAssignments
Microsoft.Automanage: configurationProfileAssignments configurationProfileAssignments/reports configurationProfiles
 accounts
Microsoft.Automation: automationAccounts automationAccounts/softwareUpdateConfigurations automationAccounts/variables
Microsoft.AzureArcData: sqlServerInstances sqlServerLicenses
Microsoft.AzureStackHCI: clusters virtualMachines virtualMachineInstances clusters/arcSettings
Microsoft.Batch: batchAccounts batchAccounts/pools
Microsoft.ChangeAnalysis: profile
Microsoft.ClassicCompute: virtualMachines domainNames
Microsoft.Compute: availabilitySets capacityReservationGroups cloudServices diskAccesses diskEncryptionSets disks
 galleries galleries/applications galleries/images galleries/images/versions hostGroups images
 proximityPlacementGroups restorePointCollections snapshots sshPublicKeys virtualMachineScaleSets
 virtualMachineScaleSets/extensions virtualMachineScaleSets/virtualMachines
 virtualMachineScaleSets/virtualMachines/extensions virtualMachines virtualMachines/extensions
 virtualMachines/runCommands
Microsoft.ConnectedVMwarevSphere: virtualMachines virtualMachines/extensions virtualMachineInstances
Microsoft.ContainerService: managedClusters managedClusters/agentPools
Microsoft.DesktopVirtualization: applicationGroups hostpools hostpools/sessionHosts workspaces
Microsoft.GuestConfiguration: guestConfigurationAssignments
Microsoft.HDInsight: clusters
Microsoft.HybridCompute: licenses machines machines/extensions machines/licenseProfiles privateLinkScopes
 privateLinkScopes/scopedResources
Microsoft.Insights: actionGroups activityLogAlerts autoscaleSettings components dataCollectionEndpoints
 dataCollectionRuleAssociations dataCollectionRules diagnosticSettings diagnosticSettingsCategories logProfiles
 metricAlerts scheduledQueryRules vmInsightsOnboardingStatuses
Microsoft.KeyVault: vaults vaults/keys vaults/secrets
Microsoft.Kubernetes: connectedClusters
Microsoft.KubernetesConfiguration: extensions
Microsoft.MachineLearningServices: workspaces workspaces/computes
Microsoft.Maintenance: configurationAssignments maintenanceConfigurations
Microsoft.ManagedIdentity: userAssignedIdentities userAssignedIdentities/federatedIdentityCredentials
Microsoft.Network: applicationSecurityGroups bastionHosts loadBalancers networkInterfaces networkSecurityGroups
 networkSecurityGroups/securityRules networkWatchers networkWatchers/connectionMonitors networkWatchers/flowLogs
 privateEndpoints publicIPAddresses routeTables virtualNetworks virtualNetworks/subnets
Microsoft.OffAzure: vmwareSites vmwareSites/machines
Microsoft.OperationalInsights: workspaces workspaces/dataSources workspaces/linkedServices
Microsoft.OperationsManagement: solutions
Microsoft.PolicyInsights: remediations attestations
Microsoft.RecoveryServices: backupProtectedItems replicationEligibilityResults vaults vaults/backupFabrics
 vaults/backupPolicies vaults/replicationFabrics vaults/replicationFabrics/replicationProtectionContainers
Microsoft.Resources: deployments links resourceGroups subscriptions subscriptions/resourceGroups tags
Microsoft.ScVmm: virtualMachines virtualMachineInstances
Microsoft.Security: adaptiveNetworkHardenings advancedThreatProtectionSettings applicationWhitelistings assessments
 assessments/subAssessments autoProvisioningSettings automations complianceResults complianceStatus
 dataCollectionAgents jitNetworkAccessPolicies mdeOnboardings pricings securityContacts securitySolutions
 serverVulnerabilityAssessments serverVulnerabilityAssessmentsSettings settings vmScanners workspaceSettings
Microsoft.SecurityInsights: onboardingStates
Microsoft.ServiceFabric: clusters managedClusters managedClusters/nodeTypes
Microsoft.SoftwareUpdateConfiguration: maintenanceConfigurations
Microsoft.Sql: servers servers/databases transparentDataEncryption
Microsoft.SqlVirtualMachine: sqlVirtualMachineGroups sqlVirtualMachines
Microsoft.Storage: storageAccounts storageAccounts/blobServices
Microsoft.VirtualMachineImages: imageTemplates
""".strip()
