"""An extension for a deployment template: the resource alone, as in the extension's documentation, or a whole template
that deploys what the product would request.

It never has values of protected settings: each is a secure parameter. `arm_template` and `bicep_template` write it in
their languages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from onboarding.domain.catalog.catalogue_entry import CatalogueEntry, handler_properties
from onboarding.domain.catalog.setting_templates import has_machine_template, split
from onboarding.domain.machine.machine_facts import OsType
from onboarding.export.step_resources import AssociationResource
from onboarding.export.template_values import Expression, Parameter, literal

EXTENSIONS = "Microsoft.Compute/virtualMachines/extensions"
MACHINES = "Microsoft.Compute/virtualMachines"
MACHINE_VERSION = "2024-07-01"


class Placement(StrEnum):
    """Where the extension is in the template: in the VM's `resources`, or at the root."""

    NESTED = "nested"
    ROOT = "root"


class ExtensionTemplate(Struct, frozen=True):
    """What the template contains."""

    entry: CatalogueEntry
    placement: Placement
    vm: str = ""  # the VM's name; empty to make it a parameter
    location: str = ""  # the region; empty for the resource group's
    public: Mapping[str, Any] = field(default_factory=dict)  # with a `Parameter` for each value that is not known
    protected: Mapping[str, Any] = field(default_factory=dict)  # with a `Parameter` for each text
    complete: bool = False  # a whole template, not the resource alone
    identity: Mapping[str, Any] = field(default_factory=dict)  # of the VM's resource; empty: it is left as it is
    associations: tuple[AssociationResource, ...] = ()

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The parameters: of a whole template everything that differs from VM to VM, of a resource alone as few as
        possible."""
        settings = (*_parameters_in(self.public), *_parameters_in(self.protected))
        settings = (*self._identities, *(each for a in self.associations for each in a.parameters), *settings)
        if not self.complete:
            where = [] if self.vm else [_VM_NAME]
            return (*where, *settings)
        texts = self._texts.values()
        machine = Parameter(_VM_NAME.name, _VM_NAME.description, default=self.vm or None)
        location = Parameter("location", "Region of the VM.", default=self.location or _GROUPS_LOCATION)
        new = self._new_machine if self.placement is Placement.NESTED else ()
        return (machine, location, *new, *texts, *settings)

    @property
    def _texts(self) -> dict[str, Parameter]:
        """The public settings of a whole template that are texts: each is the default of a parameter, by its name."""
        return {
            name: Parameter(name, f"Setting {name} of the extension.", default=value)
            for name, value in self.public.items()
            if self.complete and isinstance(value, str) and name not in RESERVED and not has_machine_template(value)
        }

    @property
    def _new_machine(self) -> tuple[Parameter, ...]:
        secret = _PASSWORD if self.entry.os_type is OsType.WINDOWS else _SSH_KEY
        return (*_NEW_MACHINE, secret, _NETWORK_INTERFACE)

    @property
    def is_alone(self) -> bool:
        """Whether the policy wants nothing besides the extension."""
        return not self.identity and not self.associations

    @property
    def _identities(self) -> tuple[Parameter, ...]:
        """The parameter for the identities of a VM that is there."""
        if not self.identity or (self.complete and self.placement is Placement.NESTED):
            return ()
        return (Parameter(_IDENTITY.name, _IDENTITY.description, default=self.identity, type="object"),)

    @property
    def identities(self) -> Mapping[str, Any] | Expression:
        """The `identity` of the VM's resource."""
        return self._identities[0].reference if self._identities else self.identity

    @property
    def machine(self) -> str | Expression:
        """The name of the VM."""
        return _VM_NAME.reference if self.complete or not self.vm else self.vm

    @property
    def region(self) -> str | Expression:
        if self.complete:
            return Expression("parameters('location')", "location")
        return self.location or _GROUPS_LOCATION

    def properties(self) -> dict[str, Any]:
        """The extension's properties. The documentation's example leaves automatic upgrades to the platform; the
        product's requests do not."""
        return {
            **handler_properties(self.entry, upgrades=self.complete),
            "settings": self._with_expressions({**self.public, **self._texts}),
            "protectedSettings": self._with_expressions(self.protected),
        }

    def _with_expressions(self, value: Any) -> Any:
        """The value with references in place of parameters, and expressions in place of templates of the machine."""
        match value:
            case Parameter():
                return value.reference
            case str() if has_machine_template(value):
                return self._computed(value)
            case Mapping():
                return {name: self._with_expressions(each) for name, each in value.items()}
            case list():
                return [self._with_expressions(each) for each in value]
        return value

    def _computed(self, text: str) -> Expression:
        """The expression for a text with templates of the machine."""
        machine = self.machine if isinstance(self.machine, Expression) else literal(self.machine)
        region = self.region if isinstance(self.region, Expression) else literal(self.region)
        values = {
            "machine.id": Expression(
                f"resourceId('{MACHINES}', {machine.arm})", f"resourceId('{MACHINES}', {machine.bicep})"
            ),
            "machine.name": machine,
            "machine.location": region,
        }
        pieces = [
            values.get(piece, literal(f"{{{piece}}}")) if index % 2 else literal(piece)
            for index, piece in enumerate(split(text))
            if piece
        ]
        if len(pieces) == 1:
            return pieces[0]
        return Expression(
            f"concat({', '.join(piece.arm for piece in pieces)})",
            f"concat({', '.join(piece.bicep for piece in pieces)})",
        )

    def new_machine(self) -> dict[str, Any]:
        """The properties of the VM that a whole template with a nested extension creates."""
        named = {parameter.name: parameter.reference for parameter in self._new_machine}
        return {
            "hardwareProfile": {"vmSize": named["vmSize"]},
            "storageProfile": {
                "imageReference": {
                    "publisher": named["imagePublisher"],
                    "offer": named["imageOffer"],
                    "sku": named["imageSku"],
                    "version": "latest",
                },
                "osDisk": {"createOption": "FromImage"},
            },
            "osProfile": {
                "computerName": self.machine,
                "adminUsername": named["adminUsername"],
                **self._log_on(named),
            },
            "networkProfile": {"networkInterfaces": [{"id": named["networkInterfaceId"]}]},
        }

    def _log_on(self, named: Mapping[str, Expression]) -> dict[str, Any]:
        if self.entry.os_type is OsType.WINDOWS:
            return {"adminPassword": named["adminPassword"], "windowsConfiguration": {"provisionVMAgent": True}}
        home = Expression(
            "concat('/home/', parameters('adminUsername'), '/.ssh/authorized_keys')",
            "'/home/${adminUsername}/.ssh/authorized_keys'",
        )
        keys = {"publicKeys": [{"path": home, "keyData": named["sshPublicKey"]}]}
        return {"linuxConfiguration": {"disablePasswordAuthentication": True, "ssh": keys}}


def _parameters_in(value: Any) -> Iterator[Parameter]:
    if isinstance(value, Parameter):
        yield value
    elif isinstance(value, (Mapping, list)):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _parameters_in(each)


_VM_NAME = Parameter("vmName", "Name of the VM.")
_IDENTITY = Parameter(
    "vmIdentity",
    "All identities of the VM after the deployment. Name those that it has too: what is left out may be taken away.",
)
_GROUPS_LOCATION = Expression("resourceGroup().location", "resourceGroup().location")
_NEW_MACHINE = (
    Parameter("vmSize", "Size of the VM.", default="Standard_D2s_v3"),
    Parameter("imagePublisher", "Publisher of an image that the extension supports."),
    Parameter("imageOffer", "Offer of the image."),
    Parameter("imageSku", "SKU of the image."),
    Parameter("adminUsername", "Name of the administrator."),
)
_SSH_KEY = Parameter("sshPublicKey", "Public SSH key of the administrator.")
_PASSWORD = Parameter("adminPassword", "Password of the administrator.", secure=True)
_NETWORK_INTERFACE = Parameter("networkInterfaceId", "Resource id of the network interface.")


# The names of all parameters that are no settings.
RESERVED = frozenset(
    each.name
    for each in (_VM_NAME, Parameter("location", ""), *_NEW_MACHINE, _SSH_KEY, _PASSWORD, _NETWORK_INTERFACE, _IDENTITY)
)
