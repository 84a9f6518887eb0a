// Package auth decides who a client is and what it may do: shared access
// signatures of devices, modules and policies, X.509 certificates by thumbprint
// and by registered authority, and the rights of policies.
//
// It is pure: keys and certificates are handed in, nothing is looked up. All
// comparisons of secrets take constant time.
package auth

import (
	"crypto/x509"
	"strings"

	"github.com/causeway-iot/causeway"
)

// Rights is a set of permissions of a shared access policy.
type Rights uint8

// The permissions of IoT Hub.
const (
	RegistryRead Rights = 1 << iota
	RegistryWrite
	ServiceConnect
	DeviceConnect

	AllRights = RegistryRead | RegistryWrite | ServiceConnect | DeviceConnect
)

// Has reports whether every right of x is in r.
func (r Rights) Has(x Rights) bool { return r&x == x }

// String lists the rights as the service names them, e.g. "RegistryRead, ServiceConnect".
func (r Rights) String() string {
	var names []string
	for i, n := range []string{"RegistryRead", "RegistryWrite", "ServiceConnect", "DeviceConnect"} {
		if r&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, ", ")
}

// Policy is a shared access policy of a hub. Keys are base64 text, as users see
// them.
type Policy struct {
	Name      string
	Primary   causeway.Secret
	Secondary causeway.Secret
	Rights    Rights
}

// Type is how an identity authenticates, in the words of the registry.
type Type string

// The authentication types.
const (
	SAS        Type = "sas"
	SelfSigned Type = "selfSigned"
	CA         Type = "certificateAuthority"
	None       Type = "none"
)

// Subject is what the registry knows about an identity that matters here.
type Subject struct {
	ID            causeway.Identity
	Type          Type
	Primary       causeway.Secret // base64 symmetric keys
	Secondary     causeway.Secret
	PrimaryThumb  string // hex, SHA-1 or SHA-256 of the leaf
	SecondThumb   string
	Disabled      bool // the identity or, for a module, its device
	DisabledCause string
}

// Realm is what a hub contributes to a decision.
type Realm struct {
	Hosts    []string // every name the hub answers to; compared without case
	Policies []Policy
	Roots    *x509.CertPool // verified authorities of the hub; nil for none
}
