package dps

import (
	"crypto/x509"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
)

// Rights is a set of permissions of a shared access policy.
type Rights uint8

// The permissions of a provisioning service. To write includes to read.
const (
	ServiceConfig Rights = 1 << iota
	EnrollmentRead
	EnrollmentWrite
	RegistrationStatusRead
	RegistrationStatusWrite

	AllRights = ServiceConfig | EnrollmentRead | EnrollmentWrite | RegistrationStatusRead | RegistrationStatusWrite
)

// OwnerPolicy is the policy that every service begins with; it has all rights.
const OwnerPolicy = "provisioningserviceowner"

// Includes reports whether r gives the right x.
func (r Rights) Includes(x Rights) bool {
	if r&EnrollmentWrite != 0 {
		r |= EnrollmentRead
	}
	if r&RegistrationStatusWrite != 0 {
		r |= RegistrationStatusRead
	}
	return r&x == x
}

var rightNames = [...]string{"ServiceConfig", "EnrollmentRead", "EnrollmentWrite", "RegistrationStatusRead", "RegistrationStatusWrite"}

// String lists the rights as the service names them.
func (r Rights) String() string {
	var names []string
	for i, n := range rightNames {
		if r&(1<<i) != 0 {
			names = append(names, n)
		}
	}
	return strings.Join(names, ", ")
}

// AccessPolicy is a shared access policy. Keys are base64; they are sealed inside
// a Store.
type AccessPolicy struct {
	Name               string
	Primary, Secondary causeway.Secret
	Rights             Rights
}

// Instance is a provisioning service. One that a [Service] handed out shares
// memory with others: it is read only.
type Instance struct {
	Name        string   // lower case
	IDScope     string   // that devices name it by, e.g. "0ne00A1B2C3"
	Hosts       []string // of its service API, lower case; the first is canonical
	Policies    []AccessPolicy
	Allocation  Policy // of enrollments that have none
	Links       []Link
	Authorities []Authority
	Issuers     []Issuer           // of certificates for devices, the newest last
	Credentials []CredentialPolicy // that say which are issued
	Throttle    Throttle
	Geo         Geo
	Created     time.Time
	// Damaged says why what is stored cannot be read, nil when it can. Of a
	// damaged one there is the name. Only a [Store] has such.
	Damaged error
}

// Link is a hub that devices may be assigned to.
type Link struct {
	Host string // host name of the hub, as devices get it
	// Excluded takes the hub out of allocations that name no hubs.
	Excluded bool
	Weight   int    // share of it in hashed allocations, 1 to MaxWeight
	Region   string // of the geo-latency allocation
	// ConnectionString has the right to write the hub's registry. It is "" for a
	// hub of this cloud, and sealed inside a Store.
	ConnectionString causeway.Secret
}

// Authority is a certificate that signs those of devices. Only verified ones
// count, and only as long as they are valid.
type Authority struct {
	Name             string
	DER              []byte
	Verified         bool
	Code             string // of the proof of possession under way, or ""
	List             RevocationList
	ETag             string
	Created, Updated time.Time
}

// RevocationList is what is known of the revocation list of an authority; its
// entries are kept as [Revocation]s.
type RevocationList struct {
	Issued  time.Time // when the authority issued it; zero for none
	Next    time.Time // when it promised the next one; may be zero
	Number  string    // decimal; "" for none
	Entries int
}

// Certificate parses the authority's certificate.
func (a *Authority) Certificate() (*x509.Certificate, error) { return x509.ParseCertificate(a.DER) }

// Policy returns the policy of that name.
func (i *Instance) Policy(name string) (AccessPolicy, bool) {
	for _, p := range i.Policies {
		if p.Name == name {
			return p, true
		}
	}
	return AccessPolicy{}, false
}

// Link returns the linked hub of that host name.
func (i *Instance) Link(host string) (Link, bool) {
	for _, l := range i.Links {
		if strings.EqualFold(l.Host, host) {
			return l, true
		}
	}
	return Link{}, false
}

// authority returns the verified certificate of that name, or nil.
func (i *Instance) authority(name string) *x509.Certificate {
	for k := range i.Authorities {
		a := &i.Authorities[k]
		if a.Verified && strings.EqualFold(a.Name, name) {
			if c, err := a.Certificate(); err == nil {
				return c
			}
		}
	}
	return nil
}
