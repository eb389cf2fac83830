# As scripts/subscribe, for PowerShell: assigns the app its roles on a subscription's VMs, and sends that subscription's events to
# the app. azd runs this after each deployment on Windows; run it by hand for another subscription, or once for all below a
# management group:
#
#   scripts/subscribe.ps1 [-Subscription ID]
#   scripts/subscribe.ps1 -ManagementGroup NAME
#
# What it asks for beyond that comes from the environment or, if a variable is not set there, from azd (docs/deploying.md).
param(
    [string] $Subscription = '',
    [string] $ManagementGroup = ''
)
$ErrorActionPreference = 'Stop'
Set-Location (Join-Path $PSScriptRoot '..')

function Get-Value([string] $Name) {
    $found = [Environment]::GetEnvironmentVariable($Name)
    if ($found) { return $found }
    $found = azd env get-value $Name
    if ($LASTEXITCODE -ne 0) { throw "$Name is not known: deploy first, or set it" }
    return $found
}

# As Get-Value, with a default for what need not be set.
function Get-Option([string] $Name, [string] $Default = '') {
    $found = [Environment]::GetEnvironmentVariable($Name)
    if ($found) { return $found }
    if (-not (Get-Command azd -ErrorAction Ignore)) { return $Default }
    $found = azd env get-value $Name 2>$null
    if ($LASTEXITCODE -ne 0) { return $Default }
    return $found
}

$location = Get-Value AZURE_LOCATION
$events = "$(Get-Value AZURE_RESOURCE_GROUP)-events"
$parameters = @(
    "groupName=$events"
    "location=$location"
    "functionAppId=$(Get-Value FUNCTION_APP_ID)"
    "appPrincipalId=$(Get-Value APP_PRINCIPAL_ID)"
    "eventsIdentityId=$(Get-Value EVENTS_IDENTITY_ID)"
    "storageAccountId=$(Get-Value STORAGE_ACCOUNT_ID)"
    "eventsQueue=$(Get-Option EVENTS_QUEUE)"
    "policyStates=$(Get-Option POLICY_STATES false)"
    "associations=$(Get-Option VM_ASSOCIATIONS false)"
    "identities=$(Get-Option VM_IDENTITIES false)"
    "removals=$(Get-Option VM_REMOVALS false)"
    "logWorkspaceId=$(Get-Option LOG_WORKSPACE_ID)"
    # az is a batch file: what PowerShell hands to one loses its double quotes unless they are escaped.
    "tags=$((Get-Option EVENTS_TAGS '{}') -replace '"', '\"')"
)

if ($ManagementGroup) {
    az deployment mg create --output none --management-group-id $ManagementGroup --location $location --name $events `
        --template-file infra/management-group.bicep --parameters @parameters
    if ($LASTEXITCODE -ne 0) { throw 'the deployment to the management group failed' }
    Write-Output "The VMs of all subscriptions below $ManagementGroup are onboarded from now on; new subscriptions follow by themselves."
    return
}

if (-not $Subscription) { $Subscription = Get-Value AZURE_SUBSCRIPTION_ID }
$parameters += @(
    "resourceGroups=$(Get-Option ONBOARDED_RESOURCE_GROUPS)"
    "roleId=$(Get-Option VM_ROLE_ID)"
    "logReadersId=$(Get-Option LOG_READERS_ID)"
    "systemTopicName=$(Get-Option SYSTEM_TOPIC)"
    "systemTopicGroup=$(Get-Option SYSTEM_TOPIC_GROUP)"
)
az deployment sub create --output none --subscription $Subscription --location $location --name $events `
    --template-file infra/subscription.bicep --parameters @parameters
if ($LASTEXITCODE -ne 0) { throw 'the deployment to the subscription failed' }
Write-Output "The VMs of subscription $Subscription are onboarded from now on."
