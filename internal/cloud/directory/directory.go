// Package directory knows which hubs this cloud hosts: their names, host names,
// shared access policies, registered certificate authorities, consumer groups
// and settings.
//
// It keeps the keys of policies sealed and hands them out open. It does not
// know devices, nor what a hub does.
package directory

import (
	"context"
	"crypto/x509"
	"slices"
	"time"

	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/quota"
	"github.com/causeway-iot/causeway/internal/core/routing"
)

// Hub describes one hub. One that a [Service] handed out shares memory with
// others: it is read only.
type Hub struct {
	Name       string   // lower case, unique in the cloud; usually its first host label
	Hosts      []string // names it answers to, lower case; the first is canonical
	Policies   []auth.Policy
	Authority  []Authority
	Groups     []ConsumerGroup // of its events, without the default one
	Partitions int             // of the event log, fixed at creation
	Created    time.Time
	Settings   Settings
	// Damaged says why what is stored cannot be read, nil when it can. Of a
	// damaged one there are the name and when it was made. Only a [Store] has
	// such.
	Damaged error

	roots *x509.CertPool // of verified authorities, made once by the Service
}

// Settings are the values of a hub that an operator may change. Zero means the
// default of the limit catalogue.
type Settings struct {
	RetentionTime    time.Duration `json:"retentionTime,omitempty"`  // of events
	RetentionBytes   int64         `json:"retentionBytes,omitempty"` // of events, 0 = unlimited
	CommandTTL       time.Duration `json:"commandTTL,omitempty"`     // default time to live of a command
	MaxDeliveryCount int           `json:"maxDeliveryCount,omitempty"`

	FeedbackTTL              time.Duration `json:"feedbackTTL,omitempty"`
	FeedbackLock             time.Duration `json:"feedbackLock,omitempty"` // of a message that is being received
	FeedbackMaxDeliveryCount int           `json:"feedbackMaxDeliveryCount,omitempty"`

	FileUploadDisabled  bool          `json:"fileUploadDisabled,omitempty"`
	FileUploadContainer string        `json:"fileUploadContainer,omitempty"`
	FileUploadTTL       time.Duration `json:"fileUploadTTL,omitempty"`       // of a ticket
	JobsActive          int           `json:"jobsActive,omitempty"`          // scheduled jobs that run at once
	JobDevicesPerSecond int           `json:"jobDevicesPerSecond,omitempty"` // by all of them together; 0 = as many as there can be

	FileNotificationsDisabled        bool          `json:"fileNotificationsDisabled,omitempty"`
	FileNotificationTTL              time.Duration `json:"fileNotificationTTL,omitempty"`
	FileNotificationLock             time.Duration `json:"fileNotificationLock,omitempty"`
	FileNotificationMaxDeliveryCount int           `json:"fileNotificationMaxDeliveryCount,omitempty"`

	// Routing is nil for a hub whose telemetry goes to its events. It is shared
	// and only read: whoever changes it puts another in its place.
	Routing *routing.Settings `json:"routing,omitempty"`

	// Quota is what the hub is held to, nil for nothing. It is shared and only
	// read.
	Quota *quota.Settings `json:"quota,omitempty"`
}

// Authority is a certificate authority registered on a hub. Only verified ones
// authenticate devices.
type Authority struct {
	Name     string
	DER      []byte
	Verified bool
	Created  time.Time
}

// Certificate parses the authority's certificate.
func (a Authority) Certificate() (*x509.Certificate, error) { return x509.ParseCertificate(a.DER) }

// Store keeps hubs durably: a writing method that returns nil is on stable
// storage. Policy keys arrive sealed and are opaque to it. It is safe for
// concurrent use and shares no memory with its callers. Drivers are held to the
// contract in directorytest.
type Store interface {
	// Hubs returns all hubs, damaged ones included, in the order of their names.
	Hubs(ctx context.Context) ([]Hub, error)
	// PutHub creates or replaces a hub.
	PutHub(ctx context.Context, h Hub) error
	// DeleteHub forgets a hub and everything keyed by it. Deleting a hub that
	// is not there is no error. Should it be interrupted once the hub is gone,
	// what the hub held may be forgotten later, but never shows up in another
	// of its name.
	DeleteHub(ctx context.Context, name string) error
}

// Realm returns what authenticating on h needs.
func (h Hub) Realm() auth.Realm {
	roots := h.roots
	if roots == nil {
		roots = h.pool()
	}
	return auth.Realm{Hosts: h.Hosts, Policies: h.Policies, Roots: roots}
}

// Grounds returns what of h may vouch for its devices, see [auth.Grounds].
func (h Hub) Grounds() map[string]bool { return auth.Grounds(h.Policies, h.verified()) }

// verified returns the verified authorities of h.
func (h Hub) verified() []*x509.Certificate {
	var all []*x509.Certificate
	for _, a := range h.Authority {
		if !a.Verified {
			continue
		}
		cert, err := a.Certificate()
		if err != nil {
			continue // refused when it was added; an authority that cannot be read trusts nobody
		}
		all = append(all, cert)
	}
	return all
}

// pool returns the verified authorities of h, nil when it has none.
func (h Hub) pool() *x509.CertPool {
	var pool *x509.CertPool
	for _, cert := range h.verified() {
		if pool == nil {
			pool = x509.NewCertPool()
		}
		pool.AddCert(cert)
	}
	return pool
}

// Policy returns the shared access policy of that name.
func (h Hub) Policy(name string) (auth.Policy, bool) {
	i := slices.IndexFunc(h.Policies, func(p auth.Policy) bool { return p.Name == name })
	if i < 0 {
		return auth.Policy{}, false
	}
	return h.Policies[i], true
}

// ConnectionString returns the text a back end connects with under a policy:
// "HostName=…;SharedAccessKeyName=…;SharedAccessKey=…". It contains the key.
func (h Hub) ConnectionString(policy string) (string, bool) {
	p, ok := h.Policy(policy)
	if !ok || len(h.Hosts) == 0 {
		return "", false
	}
	return "HostName=" + h.Hosts[0] + ";SharedAccessKeyName=" + p.Name + ";SharedAccessKey=" + string(p.Primary), true
}

// clone returns a copy of h that shares no memory with it.
func (h Hub) clone() Hub {
	h.Hosts = slices.Clone(h.Hosts)
	h.Policies = slices.Clone(h.Policies)
	h.Groups = slices.Clone(h.Groups)
	h.Authority = slices.Clone(h.Authority)
	for i := range h.Authority {
		h.Authority[i].DER = slices.Clone(h.Authority[i].DER)
	}
	h.Settings.Routing = h.Settings.Routing.Clone()
	h.Settings.Quota = h.Settings.Quota.Clone()
	h.roots = nil
	return h
}
