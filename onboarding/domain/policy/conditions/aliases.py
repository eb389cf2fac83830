"""Finds the path of an alias's value in a resource's body, for one resource type or several.

Names are Azure's and are not case-sensitive. A name that no table has is an error with a suggestion: otherwise a
misspelt alias would look like a property that is absent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Final

from msgspec import Struct

from onboarding.domain.errors import known_names
from onboarding.domain.policy.conditions.values import fold

EACH = "[*]"
type Path = tuple[str, ...]
type Tree = Mapping[str, Tree]  # by the documented name; `_ANYTHING` stands for any properties

_ANYTHING = "*"


class Alias(Struct, frozen=True):
    """An alias and the paths of its value."""

    name: str
    paths: tuple[tuple[str, Path], ...]  # by resource type (folded); `[*]` stands for every member of an array

    @property
    def is_array(self) -> bool:
        return any(EACH in path for _, path in self.paths)


class UnknownAlias(ValueError):
    """No table has the alias. `problem` says which part of it is unknown, `fix` suggests a name."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(f"{problem}; {fix}")
        self.problem = problem
        self.fix = fix


def find_alias(name: str, related_type: str = "") -> Alias:
    """The alias of that name, or `UnknownAlias`. `related_type` is a resource type besides the known ones: any name
    behind it counts as one of its properties."""
    shared = _shared().get(fold(name))
    if shared is not None:
        return shared
    if (
        related_type
        and not known_type(related_type)
        and fold(name).startswith((fold(related_type) + "/", fold(related_type) + "."))
    ):
        return Alias(name, ((fold(related_type), ("properties", *_steps(name[len(related_type) + 1 :]))),))
    type_, path = _split(name)
    return Alias(name, ((fold(type_), _path(type_, path, name)),))


def is_alias(name: str) -> bool:
    return "/" in name


def known_type(name: str) -> bool:
    return fold(name) in _types()


@cache
def _shared() -> dict[str, Alias]:
    return {
        fold(name): Alias(name, tuple((fold(type_), tuple(path.split("."))) for type_, path in places.items()))
        for name, places in SHARED.items()
    }


@cache
def _types() -> dict[str, str]:
    """Every known resource type, by its folded name."""
    types = {}
    for line in TYPES.replace("\n ", " ").splitlines():
        namespace, _, names = line.partition(":")
        types.update({fold(f"{namespace}/{name}"): f"{namespace}/{name}" for name in names.split()})
    return types


def _split(alias: str) -> tuple[str, str]:
    """The longest known type at the start of the alias, and the rest; types end at `/`, in old names at `.`."""
    for end in sorted((m.start() for m in re.finditer(r"[/.]", alias)), reverse=True):
        type_ = _types().get(fold(alias[:end]))
        if type_ is not None:
            return type_, alias[end + 1 :]
    if known_type(alias):
        raise UnknownAlias(f"{alias!r} is a resource type, not an alias", "name a property of it")
    namespace = alias.partition("/")[0]
    if not any(known.startswith(fold(namespace) + "/") for known in _types()):
        problem = f"unknown alias '{alias}': unknown resource provider '{namespace}'"
        raise UnknownAlias(problem, "use an alias that begins with a resource type, such as Microsoft.Compute/")
    from difflib import get_close_matches  # here, because most processes never see a wrong alias

    near = get_close_matches(fold(alias), [*_shared(), *_types()], n=1)
    fix = f"did you mean '{_spelled(near[0])}'?" if near else "begin it with a resource type and a slash"
    raise UnknownAlias(f"unknown alias '{alias}': unknown resource type", fix)


def _spelled(folded: str) -> str:
    shared = _shared().get(folded)
    return shared.name if shared else _types()[folded]


def _path(type_: str, path: str, alias: str) -> Path:
    for old, new in MOVED.get(type_, {}).items():
        rest = path[len(old) :]
        if fold(path[: len(old)]) == fold(old) and rest[:1] in ("", ".", "["):
            return _steps(new + rest)
    steps = _steps(path)
    if not steps:
        raise UnknownAlias(f"the alias '{alias}' names no property", f"name a property of '{type_}'")
    own = ALL_IN_PROPERTIES.get(type_, frozenset())
    if _folded_in(steps[0], OUTSIDE_PROPERTIES) and not _folded_in(steps[0], own):
        return steps
    if type_ in PROPERTIES:
        _check(steps, _tree(type_), alias)
    return ("properties", *steps)


def _folded_in(word: str, words: frozenset[str]) -> bool:
    return any(fold(word) == fold(other) for other in words)


def _steps(path: str) -> Path:
    """`a.b[*].c/d` → a, b, [*], c, d."""
    return tuple(step for step in re.split(r"[./]|(\[\*\])", path) if step)


def _check(steps: Path, tree: Tree, alias: str) -> None:
    for step in steps:
        if step == EACH:
            continue
        if _ANYTHING in tree:
            return
        known = next((name for name in tree if fold(name) == fold(step)), None)
        if known is None:
            fix = known_names("properties", sorted(tree), step)
            raise UnknownAlias(f"unknown alias '{alias}': unknown property '{step}'", fix)
        tree = tree[known]


@cache
def _tree(type_: str) -> Tree:
    return _read_tree(iter(re.findall(r"[\w*]+|\(|\)", PROPERTIES[type_])))


def _read_tree(tokens: Iterator[str]) -> Tree:
    tree: dict[str, Tree] = {}
    last = ""
    for token in tokens:
        if token == ")":
            break
        if token == "(":
            tree[last] = _read_tree(tokens)
        else:
            last = token
            tree[last] = {}
    return tree


VIRTUAL_MACHINES: Final = "Microsoft.Compute/virtualMachines"
SCALE_SETS: Final = "Microsoft.Compute/virtualMachineScaleSets"
HYBRID_MACHINES: Final = "Microsoft.HybridCompute/machines"

_IMAGE: Final = "properties.storageProfile.imageReference"
_SET_IMAGE: Final = "properties.virtualMachineProfile.storageProfile.imageReference"

# Aliases without a resource type of their own: the path of the value for each type that has it.
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

# Older short names, and names of what is not in `properties`: the first part of an alias's path → its real path.
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
OUTSIDE_PROPERTIES: Final = frozenset(
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
# On these types the words above name properties of `properties` (an extension's `type` is its handler's).
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

# `name(children)`, `[]` for an array, `*` for any properties.
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

# Types whose aliases a rule may have. Except for those above, their paths are not checked: no VM has them.
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
